"""What a service sees of a Redis that is gone, hangs, is full, or is something else: nothing."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from typing import Any

import pytest

from app.infra.cache import Cache
from app.infra.cache.redis import RedisCache, RedisSettings
from tests.caches import PATIENCE_SECONDS, Clock, Source, filling, until, value
from tests.recorded import Log, recorded
from tests.redis_servers import PrivateServer

KEYS = ["{" + str(number) + "}" for number in range(5)]


class Service:
    """Answers from a source that changes, through a cache that must not be noticed."""

    def __init__(self, url: str, **settings: Any) -> None:
        short = {"timeout_seconds": 0.4, "connect_timeout_seconds": 0.4, "lease_seconds": 1}
        patient = {"breaker_window_seconds": 0.3, "refresh_ahead": 0}
        chosen = RedisSettings(url=url, **{**short, **patient, **settings})
        self.backend = RedisCache(chosen)
        self.cache = Cache(self.backend, chosen)
        self.source = Source("1", "tag")

    async def serve(self) -> int:
        """Ask for everything, and say how much was loaded."""
        before = self.source.loads
        for key in KEYS:
            assert await value(self.cache, self.source, key) == self.source.value
        return self.source.loads - before

    async def serve_new(self) -> None:
        """Ask for what nobody has asked for, all at once."""
        asked = [
            value(self.cache, Source("new"), "{new " + str(number) + "}") for number in range(10)
        ]
        assert await asyncio.gather(*asked) == ["new"] * 10

    async def write(self) -> None:
        """Change what is cached; every answer from here on has it."""
        self.source.value += "1"
        await self.cache.forget(tags=["tag"])

    async def recovers(self) -> None:
        """Serve until hits are back."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.serve():
                pass


@pytest.fixture
async def services() -> AsyncIterator[Callable[..., Service]]:
    async with AsyncExitStack() as stack:

        def start(url: str, **settings: Any) -> Service:
            service = Service(url, **settings)
            stack.push_async_callback(service.cache.close)
            return service

        yield start


@pytest.fixture
def server(private_redis: Callable[..., PrivateServer]) -> PrivateServer:
    return private_redis()


@pytest.fixture
async def service(services: Callable[..., Service], server: PrivateServer) -> Service:
    """A service over a server that may be harmed, with everything in it."""
    service = services(server.url)
    assert [await service.serve(), await service.serve()] == [len(KEYS), 0]
    return service


def events(log: Log) -> list[str]:
    """What the log says of the cache."""
    return [line["event"] for line in log.lines]


def changes(log: Log) -> list[str]:
    """What the log says of the breaker, which is all that it may say."""
    assert {line["breaker"] for line in log.lines} <= {"cache"}
    return [line["event"] for line in log.lines]


class TestGone:
    async def test_killed(self, service: Service, server: PrivateServer) -> None:
        """The source answers, the log has a line, and hits come back by themselves."""
        with recorded() as log:
            server.kill()
            for _ in range(10):
                assert await service.serve() == len(KEYS)
            assert changes(log) == ["breaker opened"]
            server.start()
            await service.recovers()
            assert changes(log) == ["breaker opened", "breaker closed"]

    async def test_restarted(self, service: Service, server: PrivateServer) -> None:
        """The connections are dead, and nothing but what was cached is lost."""
        server.stop()
        server.start()
        with recorded() as log:
            assert [await service.serve(), await service.serve()] == [len(KEYS), 0]
            assert not log.lines
        assert not service.cache.figures["test"].errors

    async def test_killed_under_load(self, service: Service, server: PrivateServer) -> None:
        """Everybody who asked is answered; who asked for the same shares a load still."""
        await service.write()
        source = service.source
        tasks = [await filling(service.cache, source, KEYS[0])]
        tasks += [asyncio.create_task(value(service.cache, source, KEYS[0])) for _ in range(200)]
        await asyncio.sleep(0)
        server.kill()
        source.answers.set()
        loads = source.loads
        assert await asyncio.gather(*tasks) == ["11"] * 201
        assert source.loads - loads <= 2

    async def test_forgotten_meanwhile(self, service: Service, server: PrivateServer) -> None:
        """Nothing to be outdated is left in a server that was replaced, and nothing is believed."""
        server.kill()
        await service.write()
        await service.serve()
        server.start()
        await service.write()
        await service.recovers()

    async def test_asked_after(self, service: Service, server: PrivateServer) -> None:
        """Nobody who asks after a change shares what was loaded before it, without Redis either."""
        server.kill()
        first = await filling(service.cache, service.source, "{filling}")
        await service.write()
        later = asyncio.create_task(value(service.cache, service.source, "{filling}"))
        await until(lambda: service.cache._flights)
        service.source.answers.set()
        assert [await first, await later] == ["1", "11"]

    async def test_at_the_start(
        self, services: Callable[..., Service], server: PrivateServer
    ) -> None:
        """It makes no difference who starts first."""
        server.kill()
        service = services(server.url)
        await service.cache.open()
        assert await service.serve() == len(KEYS)
        server.start()
        await service.recovers()


class TestHanging:
    async def test_paused(self, service: Service, server: PrivateServer) -> None:
        """After a few time-outs nobody waits for it, until it goes on."""
        with recorded() as log:
            server.pause()
            for _ in range(10):
                await service.serve()
            assert changes(log) == ["breaker opened"]
            server.resume()
            await service.recovers()
            assert changes(log) == ["breaker opened", "breaker closed"]

    async def test_many_at_once(self, service: Service, server: PrivateServer) -> None:
        """They share the time-outs, however many there are, and more than connections."""
        server.pause()
        started = asyncio.get_running_loop().time()
        asked = [value(service.cache, service.source, "{many " + str(i) + "}") for i in range(500)]
        assert await asyncio.gather(*asked) == ["1"] * 500
        # One after the other in 20 connections, they would take longer than is waited for.
        assert asyncio.get_running_loop().time() - started < PATIENCE_SECONDS / 3

    async def test_forgotten_meanwhile(self, service: Service, server: PrivateServer) -> None:
        """What could not be outdated is, before anything is read again."""
        server.pause()
        # Redis would do what it has already been sent, although nobody waits for its answer.
        await service.serve()
        assert service.backend._breaker.is_open
        await service.write()
        await service.serve()
        server.resume()
        await service.recovers()
        await service.serve()

    async def test_forgotten_by_key(self, service: Service, server: PrivateServer) -> None:
        """The same for one entry."""
        server.pause()
        service.source.value = "2"
        await service.cache.forget(keys=KEYS)
        server.resume()
        await service.recovers()

    async def test_forgotten_without_requests(
        self, service: Service, services: Callable[..., Service], server: PrivateServer
    ) -> None:
        """It is told to Redis though nobody asks, so that other processes see it."""
        other = services(server.url)
        other.source = service.source
        server.pause()
        await service.write()
        server.resume()
        await until(lambda: not service.backend._owed)
        await other.serve()

    async def test_lock_that_was_asked_for(
        self, services: Callable[..., Service], server: PrivateServer
    ) -> None:
        """Redis gives it to who has long gone, and it is given back: nobody waits for the lease."""
        service = services(server.url, lease_seconds=3600)
        await service.serve()
        server.pause()
        assert await value(service.cache, Source("new"), "{asked}") == "new"
        server.resume()
        await service.recovers()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await service.backend.acquire("{asked}", 1) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def test_more_than_can_be_remembered(
        self, service: Service, server: PrivateServer
    ) -> None:
        """Everything is outdated then."""
        server.pause()
        service.source.value = "2"
        await service.cache.forget(tags=["tag", *(f"tag {number}" for number in range(20_000))])
        assert len(service.backend._owed) == 1
        server.resume()
        await service.recovers()


class TestFull:
    async def test_no_room(self, service: Service, server: PrivateServer) -> None:
        """What is there is read, what is outdated is not; the log has a line for each change."""
        await value(service.cache, Source("other", "other"), "{other}")
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with recorded() as log:
            assert await service.serve() == 0
            await service.write()
            for _ in range(5):
                assert await service.serve() == len(KEYS)
            await service.serve_new()
            # Nothing else is lost.
            assert await value(service.cache, Source("unread"), "{other}") == "other"
            assert events(log) == ["cache takes nothing"]
            server.ask("CONFIG", "SET", "maxmemory", "0")
            await service.recovers()
            assert events(log) == ["cache takes nothing", "cache takes entries again"]

    async def test_load_before_there_was_no_room(
        self, service: Service, server: PrivateServer
    ) -> None:
        """What began to be loaded before it was outdated is not kept when there is room again."""
        source = Source("old", "tag", "new tag")
        first = await filling(service.cache, source, "{filling}")
        source.value = "new"
        server.ask("CONFIG", "SET", "maxmemory", "1")
        await service.cache.forget(tags=["new tag"])
        server.ask("CONFIG", "SET", "maxmemory", "0")
        source.answers.set()
        assert await first == "old"
        assert await value(service.cache, source, "{filling}") == "new"

    async def test_evicts(
        self, services: Callable[..., Service], private_redis: Callable[..., PrivateServer]
    ) -> None:
        """With a policy that makes room, of whatever, all answers are right."""
        server = private_redis(maxmemory="3mb", maxmemory_policy="allkeys-random")
        service = services(server.url, compress_minimum_bytes=1_000_000)
        large = Source("x" * 100_000, "tag")
        for turn in range(60):
            await value(service.cache, large, "{large " + str(turn) + "}")
            if turn % 10 == 9:
                await service.write()
            await service.serve()
        assert server.ask("INFO", "stats")["evicted_keys"] > 10


class TestReadOnly:
    async def test_reads(self, service: Service, server: PrivateServer) -> None:
        """What it has is read, and what it has not is loaded."""
        server.ask("CONFIG", "SET", "replica-serve-stale-data", "yes")
        server.ask("REPLICAOF", "127.0.0.1", 1)
        with recorded() as log:
            assert await service.serve() == 0
            await service.serve_new()
            assert events(log) == ["cache takes nothing"]

    async def test_forgotten_meanwhile(self, service: Service, server: PrivateServer) -> None:
        """Nothing of it is believed until it has outdated what it had to."""
        server.ask("REPLICAOF", "127.0.0.1", 1)
        with recorded() as log:
            await service.write()
            for _ in range(5):
                assert await service.serve() == len(KEYS)
            assert events(log) == ["cache takes nothing"]
            server.ask("REPLICAOF", "NO", "ONE")
            await service.recovers()
            assert events(log) == ["cache takes nothing", "cache takes entries again"]


NONSENSE = {
    "web server": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "bytes": b"\x00\xff\xfe\x80",
    "OK": b"+OK\r\n",
    "number": b":1\r\n",
    "error": b"-ERR\r\n",
    "list": b"*2\r\n:1\r\n$1\r\nx\r\n",
    "not all": b"$100\r\n",
    "none": b"$-1\r\n",
    "text": b"$4\r\ntext\r\n",
    "silence": b"",
}


@asynccontextmanager
async def answering(nonsense: bytes | None) -> AsyncIterator[tuple[str, list[object]]]:
    """The URL of a server that answers each command with `nonsense`, and who has connected."""
    connected: list[object] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        with closing(writer), suppress(OSError):
            while nonsense is not None and (asked := await reader.read(65_536)):
                writer.write(nonsense * len(re.findall(rb"\*\d+\r\n", asked)))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", connected


class TestNonsense:
    @pytest.mark.parametrize("nonsense", NONSENSE)
    async def test_answers(self, services: Callable[..., Service], nonsense: str) -> None:
        """The source answers, whatever Redis may turn out to be."""
        async with answering(NONSENSE[nonsense]) as (url, _):
            # What looks like a lock that another has is waited for.
            service = services(url, breaker_window_seconds=600, wait_seconds=0.1)
            with recorded() as log:
                for _ in range(3):
                    assert await service.serve() == len(KEYS)
                    await service.write()
                assert len(log.of("breaker opened")) <= 1
            await service.cache.close()


async def attempts(connected: list[object], work: Callable[[], Awaitable[object]]) -> int:
    before = len(connected)
    await work()
    return len(connected) - before


class TestAttempts:
    async def test_one_per_window(self, services: Callable[..., Service]) -> None:
        """However many ask, a Redis that is wanting is asked once in a while."""
        async with answering(None) as (url, connected):
            clock = Clock()
            service = services(url, breaker_window_seconds=600)
            service.backend._breaker._clock = clock

            async def serve() -> None:
                asked = (
                    value(service.cache, service.source, "{" + str(i) + "}") for i in range(100)
                )
                await asyncio.gather(*asked)

            await serve()
            assert service.backend._breaker.is_open
            assert await attempts(connected, serve) == 0
            for _ in range(3):
                clock.now += 600
                # The client may repeat once what a dead connection may have cost it.
                assert 1 <= await attempts(connected, serve) <= 2
                assert await attempts(connected, serve) == 0
            await service.cache.close()
