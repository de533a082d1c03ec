"""What fails is left alone for a while, and then tried by one, not by all."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from app.infra.monitoring import listening
from app.infra.resilience.breaker import Breaker, BreakerOpen
from tests.figures import Figures
from tests.recorded import Log, recorded

WINDOW = 10.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Server:
    """Fails as long as it is told to, and counts who asks."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.breaker = Breaker(
            "server",
            failures=3,
            window_seconds=WINDOW,
            errors=(OSError,),
            clock=self.clock,
        )
        self.error: BaseException | None = OSError("gone")
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def ask(self) -> None:
        with self.breaker.attempt():
            self.asked += 1
            error = self.error
            await self.answers.wait()
            if error is not None:
                raise error

    async def fail(self, times: int = 3) -> None:
        for _ in range(times):
            with pytest.raises(OSError, match="gone"):
                await self.ask()

    async def asking(self) -> asyncio.Task[None]:
        """Somebody who has asked, and has no answer yet."""
        self.answers.clear()
        task = asyncio.create_task(self.ask())
        await asyncio.sleep(0)
        return task

    async def answer(self, task: asyncio.Task[None]) -> None:
        self.answers.set()
        await asyncio.wait([task])
        with suppress(OSError):
            task.result()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def log() -> Iterator[Log]:
    with recorded() as log:
        yield log


class TestOpening:
    async def test_in_a_row(self, server: Server) -> None:
        """After so many failures in a row it is not asked, and who would ask is told why."""
        await server.fail(3)
        with pytest.raises(BreakerOpen, match="server failed lately"):
            await server.ask()
        assert server.asked == 3

    async def test_not_in_a_row(self, server: Server) -> None:
        """A success between failures starts the count anew."""
        for _ in range(3):
            await server.fail(2)
            server.error, error = None, server.error
            await server.ask()
            server.error = error
        assert not server.breaker.is_open

    async def test_other_errors(self, server: Server) -> None:
        """They are answers."""
        await server.fail(2)
        server.error = ValueError("no")
        with pytest.raises(ValueError, match="no"):
            await server.ask()
        server.error = OSError("gone")
        await server.fail(2)
        assert not server.breaker.is_open

    async def test_cancelled(self, server: Server) -> None:
        """Somebody who gives up has shown nothing: neither a failure nor a success."""
        await server.fail(2)
        task = await server.asking()
        task.cancel()
        await asyncio.wait([task])
        server.answers.set()
        assert not server.breaker.is_open
        await server.fail(1)
        assert server.breaker.is_open


class TestProbing:
    async def test_one_of_many(self, server: Server) -> None:
        """When the window ends, one of a hundred asks, and the others are told at once."""
        await server.fail()
        server.error = None
        server.clock.now += WINDOW
        server.answers.clear()
        tasks = [asyncio.create_task(server.ask()) for _ in range(100)]
        await asyncio.sleep(0)
        probe, *refused = sorted(tasks, key=asyncio.Task.done)
        assert all(isinstance(task.exception(), BreakerOpen) for task in refused)
        await server.answer(probe)
        assert server.asked == 4
        assert not server.breaker.is_open

    async def test_one_per_window(self, server: Server) -> None:
        """As long as it fails, it is asked once in each."""
        await server.fail()
        for second in range(1, 51):
            server.clock.now = float(second)
            for _ in range(10):
                with suppress(OSError, BreakerOpen):
                    await server.ask()
            assert server.asked == 3 + second // 10

    async def test_cancelled(self, server: Server) -> None:
        """The next is due a window later, and not never."""
        await server.fail()
        server.error = None
        server.clock.now += WINDOW
        probe = await server.asking()
        probe.cancel()
        await asyncio.wait([probe])
        server.answers.set()
        with pytest.raises(BreakerOpen):
            await server.ask()
        server.clock.now += WINDOW
        await server.ask()
        assert not server.breaker.is_open

    async def test_answers_with_an_error(self, server: Server) -> None:
        """It answers: it is asked again."""
        await server.fail()
        server.error = ValueError("no")
        server.clock.now += WINDOW
        with pytest.raises(ValueError, match="no"):
            await server.ask()
        assert not server.breaker.is_open


class TestLate:
    async def test_success(self, server: Server) -> None:
        """What began before it opened does not close it."""
        with server.breaker.attempt():
            await server.fail()
        assert server.breaker.is_open

    async def test_answer(self, server: Server) -> None:
        """Nor does an error that is an answer."""
        with suppress(ValueError), server.breaker.attempt():
            await server.fail()
            raise ValueError("no")
        assert server.breaker.is_open

    async def test_failure(self, server: Server) -> None:
        """What began before it closed does not count."""
        await server.fail()
        server.clock.now += WINDOW
        slow = await server.asking()
        server.clock.now += WINDOW
        with server.breaker.attempt():
            pass
        assert not server.breaker.is_open
        await server.answer(slow)
        server.answers.set()
        await server.fail(2)
        assert not server.breaker.is_open

    async def test_many_failures(self, server: Server) -> None:
        """Those that end after it opened do not make the window longer."""
        server.answers.clear()
        tasks = [asyncio.create_task(server.ask()) for _ in range(100)]
        await asyncio.sleep(0)
        server.answers.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert server.asked == 100
        server.clock.now += WINDOW
        server.error = None
        await server.ask()
        assert not server.breaker.is_open


class TestLog:
    async def test_changes(self, server: Server, log: Log) -> None:
        """A line each, with the cause in one line, and none for what is between."""
        server.error = OSError("gone\n  for good")
        for _ in range(10):
            with suppress(OSError, BreakerOpen):
                await server.ask()
        server.clock.now += WINDOW
        with suppress(OSError):
            await server.ask()
        server.clock.now += WINDOW
        server.error = None
        for _ in range(3):
            await server.ask()
        assert [(line["event"], line["breaker"], line.get("cause")) for line in log.lines] == [
            ("breaker opened", "server", "gone for good"),
            ("breaker closed", "server", None),
        ]
        assert {line["level"] for line in log.lines} == {"warning"}

    async def test_without_words(self, server: Server, log: Log) -> None:
        """An error that says nothing is named."""
        server.error = TimeoutError()
        for _ in range(3):
            with suppress(OSError):
                await server.ask()
        [line] = log.lines
        assert line["cause"] == "TimeoutError"


class TestFigures:
    async def test_before_anything(self) -> None:
        """Who listens after it was made is told 0 of everything."""
        figures, _ = Figures(), Server()
        async with listening(figures):
            assert figures.last("breaker_open", "server") == 0
            assert figures.last("breaker_refused_total", "server") == 0
            for state in ("open", "half_open", "closed"):
                assert figures.last("breaker_changes_total", "server", state) == 0

    async def test_each_state(self) -> None:
        """Each change is counted, what is held back too, and a gauge tells what it is now."""
        figures = Figures()
        async with listening(figures):
            server = Server()
            states = [figures.last("breaker_open", "server")]
            for _ in range(5):
                with suppress(OSError, BreakerOpen):
                    await server.ask()
            states.append(figures.last("breaker_open", "server"))
            server.clock.now += WINDOW
            server.error = None
            await server.ask()
            states.append(figures.last("breaker_open", "server"))
        assert states == [0, 1, 0]
        changes = {
            state: figures.total("breaker_changes_total", "server", state)
            for (_, state) in figures.series("breaker_changes_total")
        }
        assert changes == {"open": 1, "half_open": 1, "closed": 1}
        assert figures.total("breaker_refused_total", "server") == 2
