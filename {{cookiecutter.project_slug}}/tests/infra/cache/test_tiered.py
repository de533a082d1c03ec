"""Memory in front of Redis: nothing in it survives what another process has changed."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from typing import Any

import pytest

from app.infra.cache import Cache
from app.infra.cache.tiered import Tiered, TieredSettings
from tests.caches import LONG, PATIENCE_SECONDS, Clock, Source, until, value
from tests.recorded import recorded
from tests.redis_servers import PrivateServer

KEY = "{key}"


class Process:
    """A cache like that of a process of its own."""

    def __init__(self, url: str, clock: Clock, **settings: Any) -> None:
        quick = {"timeout_seconds": 1, "ping_seconds": 0.1, "refresh_ahead": 0, "ttl_jitter": 0}
        chosen = TieredSettings(url=url, **{**quick, **settings})
        self.backend = Tiered(chosen)
        self.cache = Cache(self.backend, chosen, clock=clock)

    @property
    def kept(self) -> int:
        """How much is in memory."""
        return len(self.backend._local)

    async def hears(self) -> None:
        await until(lambda: self.backend._listens)

    async def is_deaf(self) -> None:
        await until(lambda: not self.backend._listens)


class Proxy:
    """Stands between a process and Redis, and holds back answers, or what is told unasked."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: list[asyncio.Task[None]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.changes = asyncio.Event()
        self.changes.set()

    async def start(self) -> str:
        """The URL that leads through it."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._port)
        tells = asyncio.Event()

        async def ask() -> None:
            with closing(redis_writer):
                while data := await reader.read(65_536):
                    if b"SUBSCRIBE" in data:
                        tells.set()
                    redis_writer.write(data)

        async def answer() -> None:
            with closing(writer):
                while data := await redis_reader.read(65_536):
                    await (self.changes if tells.is_set() else self.answers).wait()
                    writer.write(data)

        self._tasks += [asyncio.create_task(ask()), asyncio.create_task(answer())]


@pytest.fixture
async def proxy(server: PrivateServer) -> AsyncIterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    await proxy.close()


@pytest.fixture
def server(private_redis: Callable[..., PrivateServer]) -> PrivateServer:
    return private_redis()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def processes(server: PrivateServer, clock: Clock) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def start(url: str = server.url, **settings: Any) -> Process:
            process = Process(url, clock, **settings)
            await process.cache.open()
            stack.push_async_callback(process.cache.close)
            await process.hears()
            return process

        yield start


@pytest.fixture
async def one(processes: Callable[..., Any]) -> Process:
    process: Process = await processes()
    return process


@pytest.fixture
async def two(processes: Callable[..., Any]) -> Process:
    process: Process = await processes()
    return process


async def remember(process: Process, source: Source) -> None:
    """Let `process` have what it is asked for in memory: the entry, the generation, and tags."""

    async def remembers() -> bool:
        await value(process.cache, source)
        return process.kept == 2 + len(source.tags)

    # What it hears of its own load comes when it comes.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await remembers():
            pass


async def quiet(process: Process, other: Process) -> None:
    """Until `process` has heard everything that Redis has told so far."""
    key = f"{process.backend._settings.prefix}:told"
    process.backend._local.put(key, b"", LONG)
    await other.backend._redis.set(key, "", px=1)
    await until(lambda: process.backend._local.get(key) is None)


class TestReading:
    async def test_asks_redis_nothing(self, server: PrivateServer, one: Process) -> None:
        """What is in memory is answered from there."""
        source = Source("old", "tag")
        await remember(one, source)
        before = server.calls()["get"]
        for _ in range(10):
            await value(one.cache, source)
        assert (server.calls()["get"], source.loads) == (before, 1)

    async def test_under_load(self, server: PrivateServer, one: Process) -> None:
        """What many read all the time, so that no read ends before another begins, is kept."""
        source = Source()
        await remember(one, source)
        # Nothing that Redis has yet to tell disturbs it.
        await quiet(one, one)
        one.backend._empty()
        before = server.calls()["get"]

        async def read() -> None:
            for _ in range(100):
                await one.backend.read(KEY)

        await asyncio.gather(*(read() for _ in range(32)))
        assert server.calls()["get"] - before <= 2 * 32

    async def test_not_for_ever(self, server: PrivateServer, one: Process) -> None:
        """After a while, Redis is asked again, whatever it has told."""
        local_clock = Clock()
        one.backend._local._clock = local_clock
        source = Source()
        await remember(one, source)
        before = server.calls()["get"]
        local_clock.now += 30
        await value(one.cache, source)
        assert (server.calls()["get"], source.loads) == (before + 2, 1)

    async def test_bounds(self, processes: Callable[..., Any]) -> None:
        """Memory is bounded, and what it has no room for is in Redis."""
        process: Process = await processes(max_entries=5)
        source = Source()
        for _ in range(2):
            for number in range(10):
                await value(process.cache, source, "{" + str(number) + "}")
        assert process.kept <= 5
        assert source.loads == 10

    async def test_too_old(self, one: Process, two: Process, clock: Clock) -> None:
        """What one has loaded, no other loads, although it remembers something older."""
        source = Source(ttl_seconds=10)
        await remember(one, source)
        await remember(two, source)
        for turn in range(20):
            clock.now += 10
            await value(one.cache, source)
            await value(two.cache, source)
            await value(one.cache, source)
            assert source.loads == turn + 2

    @pytest.mark.parametrize("who", ["itself", "another"])
    async def test_too_old_and_not_told(
        self,
        proxy: Proxy,
        one: Process,
        processes: Callable[..., Any],
        clock: Clock,
        who: str,
    ) -> None:
        """Nor does it before it has been told that there is something newer."""
        late: Process = await processes(await proxy.start(), timeout_seconds=PATIENCE_SECONDS)
        source = Source(ttl_seconds=10)
        await remember(late, source)
        await quiet(late, one)
        proxy.changes.clear()
        clock.now += 10
        await value(late.cache if who == "itself" else one.cache, source)
        for _ in range(3):
            await value(late.cache, source)
        assert source.loads == 2
        proxy.changes.set()
        await late.cache.close()


CHANGES: dict[str, Callable[[Process, PrivateServer], Any]] = {
    "tag": lambda process, _: process.cache.forget(tags=["tag"]),
    "key": lambda process, _: process.cache.forget(keys=[KEY]),
    "clear": lambda process, _: process.cache.clear(),
    "by hand": lambda _, server: asyncio.to_thread(server.ask, "FLUSHALL"),
}


@pytest.mark.parametrize("change", CHANGES)
class TestCoherence:
    async def test_elsewhere(
        self, server: PrivateServer, one: Process, two: Process, change: str
    ) -> None:
        """Every process hears of it; one that has answered with the new never has the old again."""
        source = Source("old", "tag")
        await remember(one, source)
        await remember(two, source)
        source.value = "new"
        await CHANGES[change](one, server)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await value(two.cache, source) == "old":
                await quiet(two, one)
        assert [await value(two.cache, source) for _ in range(100)] == ["new"] * 100
        assert await value(one.cache, source) == "new"

    async def test_here(self, server: PrivateServer, one: Process, change: str) -> None:
        """The process that changed it has the new at once."""
        source = Source("old", "tag")
        await remember(one, source)
        source.value = "new"
        await CHANGES[change](one, server)
        if change == "by hand":
            await until(lambda: not one.kept)
        assert await value(one.cache, source) == "new"

    async def test_watched(
        self, server: PrivateServer, one: Process, two: Process, change: str
    ) -> None:
        """Who watches an entry is told as soon as the process has heard of it."""
        await remember(one, Source("old", "tag"))
        entry = await one.cache.find("test", KEY)
        assert entry is not None
        watch = one.backend.watch(KEY, entry)
        assert watch is not None
        assert watch()
        await CHANGES[change](two, server)
        await quiet(one, two)
        assert not watch()

    async def test_while_it_is_read(
        self,
        server: PrivateServer,
        proxy: Proxy,
        one: Process,
        processes: Callable[..., Any],
        change: str,
    ) -> None:
        """An answer that was on its way is not remembered."""
        late: Process = await processes(await proxy.start(), timeout_seconds=PATIENCE_SECONDS)
        source = Source("old", "tag")
        await value(one.cache, source)
        # Its connections are made before answers are held back.
        await asyncio.gather(late.backend.tokens(["a"]), late.backend.tokens(["b"]))
        proxy.answers.clear()
        before = server.calls()["get"]
        reading = [
            asyncio.create_task(late.backend.read(KEY)),
            asyncio.create_task(late.backend.tokens(["tag"])),
        ]
        await until(lambda: server.calls()["get"] == before + 3)
        assert len(late.backend._reads) == 3
        source.value = "new"
        await CHANGES[change](one, server)
        # It hears of the change before it gets the answer.
        await quiet(late, one)
        proxy.answers.set()
        await asyncio.wait(reading)
        assert await value(late.cache, source) == "new"
        # Its connections close before the proxy does.
        await late.cache.close()


def hang_up(server: PrivateServer) -> None:
    """Close the connections on which Redis tells of changes."""
    for client in re.findall(rb"\bid=(\d+)", server.ask("CLIENT", "LIST", "TYPE", "pubsub")):
        server.ask("CLIENT", "KILL", "ID", client)


class TestChannel:
    async def test_odd_key(self, one: Process, two: Process) -> None:
        """A change of what is no text does not end it."""
        await two.backend._redis.set(b"app:\xff", 1)
        await quiet(one, two)
        assert one.backend._listens

    async def test_closed(self, server: PrivateServer, one: Process, two: Process) -> None:
        """Memory is emptied, and used again when there is another channel."""
        source = Source("old", "tag")
        await remember(two, source)
        with recorded() as log:
            hang_up(server)
            await until(lambda: len(log.of("cache no longer hears of changes")) == 2)
            assert two.kept == 0
            source.value = "new"
            await one.cache.forget(tags=["tag"])
            assert await value(two.cache, source) == "new"
            await one.hears()
            await two.hears()
            assert len(log.lines) == 4
        await remember(two, source)

    async def test_silent(self, server: PrivateServer, one: Process) -> None:
        """A Redis that is not heard of for a while may have told something: memory is emptied."""
        source = Source("old", "tag")
        await remember(one, source)
        server.pause()
        await one.is_deaf()
        assert one.kept == 0
        server.resume()
        await one.hears()
        await remember(one, source)

    async def test_idle(self, server: PrivateServer, one: Process) -> None:
        """Where nothing changes, nothing is told; memory stays."""
        source = Source("old", "tag")
        await remember(one, source)
        pings = server.calls().get("ping", 0)
        with recorded() as log:
            # Those of the test's own questions do not count.
            await until(lambda: server.calls().get("ping", 0) >= pings + 3)
        assert one.kept == 3
        assert not log.lines

    async def test_none(self, server: PrivateServer, clock: Clock) -> None:
        """Nothing is remembered without one; everything else goes on."""
        process = Process(server.url, clock)
        source = Source("old", "tag")
        for _ in range(3):
            assert await value(process.cache, source) == "old"
        assert (process.kept, source.loads) == (0, 1)
        entry = await process.cache.find("test", KEY)
        assert entry is not None
        assert process.backend.watch(KEY, entry) is None
        await process.cache.close()

    async def test_killed(self, server: PrivateServer, one: Process) -> None:
        """The source answers, and memory is back with Redis."""
        source = Source("old", "tag")
        await remember(one, source)
        server.kill()
        await one.is_deaf()
        source.value = "new"
        assert await value(one.cache, source) == "new"
        server.start()
        await one.hears()
        await remember(one, source)
        assert await value(one.cache, source) == "new"
