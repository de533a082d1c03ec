"""What Redis is asked for, and what it may lose."""

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import ValidationError
from redis import Redis

from app.infra.cache import Cache
from app.infra.cache.redis import RedisCache, RedisSettings
from tests.caches import Source, filling, joining, until, value
from tests.redis_servers import PrivateServer, ask

# Nobody asks for these on purpose: they are asked when a connection is made, and by the tests.
_OTHERS = {"config|resetstat", "client|setinfo", "hello", "info", "ping", "select"}


class Counted:
    """A cache over a server of its own, and what it asks of it."""

    def __init__(self, server: PrivateServer) -> None:
        self.server = server
        settings = RedisSettings(url=server.url, refresh_ahead=0)
        self.cache = Cache(RedisCache(settings), settings)

    async def asked(self, work: Callable[[], Any]) -> Counter[str]:
        """The commands that `work` costs, scripts' own included."""
        self.server.ask("CONFIG", "RESETSTAT")
        await work()
        calls = self.server.calls()
        return Counter({name: count for name, count in calls.items() if name not in _OTHERS})

    async def questions(self, work: Callable[[], Any]) -> int:
        """How often `work` waits for Redis; commands that are sent together are one question."""
        with Redis.from_url(self.server.url) as client:
            before = client.info("stats")["total_reads_processed"]
            await work()
            # One of them is this one.
            return int(client.info("stats")["total_reads_processed"] - before - 1)


@pytest.fixture
async def counted(private_redis: Callable[..., PrivateServer]) -> AsyncIterator[Counted]:
    made = Counted(private_redis())
    yield made
    await made.cache.close()


@pytest.fixture
async def cache(where: dict[str, Any]) -> AsyncIterator[Cache]:
    settings = RedisSettings(**where, refresh_ahead=0)
    cache = Cache(RedisCache(settings), settings)
    yield cache
    await cache.close()


class TestCosts:
    async def test_hit(self, counted: Counted) -> None:
        """Two reads at once, and one more for all tags together."""
        cache, source = counted.cache, Source("old", "one", "two")
        await value(cache, Source())
        await value(cache, source, "{tagged}")
        assert await counted.asked(lambda: value(cache, Source())) == {"get": 2}
        assert await counted.asked(lambda: value(cache, source, "{tagged}")) == {"get": 4}

    async def test_round_trips(self, counted: Counted) -> None:
        """One question for what is there, one for all of its tags, and one to forget them."""
        cache, source = counted.cache, Source("old", "one", "two")
        await value(cache, source)
        await value(cache, Source(), "{untagged}")
        assert await counted.questions(lambda: value(cache, source)) == 2
        assert await counted.questions(lambda: value(cache, source, "{untagged}")) == 1
        assert await counted.questions(lambda: cache.forget(tags=["one", "two"])) == 1
        assert await counted.questions(lambda: value(cache, source)) == 7

    async def test_miss(self, counted: Counted) -> None:
        """A lock, which is given back, and no more than a script for each step."""
        await value(counted.cache, Source(), "{other}")
        asked = await counted.asked(lambda: value(counted.cache, Source("old", "one", "two")))
        # In scripts: two counters; the clock, and per tag; the lock, and the value.
        assert asked["eval"] == 3
        assert asked["set"] == 1 + 1 + 2 + 1
        assert asked["del"] == 1

    async def test_forget(self, counted: Counted) -> None:
        """A tag with 10,000 dependants is forgotten like a tag with one."""
        server, cache = counted.server, counted.cache
        costs = []
        for dependants in (1, 10_000):
            source = Source("old", "tag")
            await value(cache, source)
            # As many entries that depend on it as there shall be; what is in them is all the same.
            entry = server.ask("GET", "app:{key}")
            fill = "for i = 2, ARGV[1] do redis.call('SET', 'app:{' .. i .. '}', ARGV[2]) end"
            server.ask("EVAL", fill, 0, dependants, entry)
            assert await value(cache, source, "{" + str(dependants) + "}") == "old"
            costs.append(await counted.asked(lambda: cache.forget(tags=["tag"])))
            source.value = "new"
            assert await value(cache, source, "{" + str(dependants) + "}") == "new"
        assert costs[0] == costs[1]
        assert costs[0] == {"eval": 1, "time": 1, "get": 1, "set": 1, "del": 1}

    async def test_everything(self, counted: Counted) -> None:
        """Nothing ever walks through the keys, and nothing takes more than is its own."""

        async def everything() -> None:
            await use_everything(counted.cache)

        asked = await counted.asked(everything)
        assert asked.keys() <= {
            "dbsize",
            "del",
            "eval",
            "expire",
            "get",
            "mget",
            "pexpire",
            "pttl",
            "set",
            "time",
            "ttl",
        }


async def use_everything(cache: Cache) -> None:
    """Every method of the backend, at least once."""
    backend = cache.backend
    source = Source("old", "one", "two")
    for _ in range(3):
        await value(cache, source)
        await value(cache, Source(), "{untagged}")
    await cache.forget(keys=["{key}", "{untagged}"], tags=["one", "two", "three"])
    first = await filling(cache, source)
    second = await joining(cache, source)
    lease = await backend.acquire("{lock}", 10)
    assert lease is not None
    await backend.renew(lease, 10)
    assert await backend.acquire("{lock}", 10) is None
    assert await backend.release(lease)
    source.answers.set()
    assert [await first, await second] == ["old"] * 2
    await cache.clear()
    await value(cache, source)
    assert (await cache.usage()).entries
    assert not cache.figures["test"].errors


class TestCluster:
    async def test_every_operation(self, private_redis: Callable[..., PrivateServer]) -> None:
        """None has keys of two slots."""
        server = private_redis(cluster_enabled="yes")
        server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await until(lambda: b"cluster_state:ok" in server.ask("CLUSTER", "INFO"))
        counted = Counted(server)
        await use_everything(counted.cache)
        await counted.cache.close()
        assert "errorstat_CROSSSLOT" not in server.ask("INFO", "errorstats")


KEPT = {
    "entry": "{prefix}:{key}",
    "lock": "{prefix}:{key}:lock",
    "clock": "{prefix}:{shared}:clock",
    "generation": "{prefix}:{shared}:generation",
    "tag": "{prefix}:{shared}:tag:tag",
}


def named(where: dict[str, str], kind: str) -> str:
    return KEPT[kind].replace("{prefix}", where["prefix"])


@pytest.mark.parametrize("kind", KEPT)
class TestEviction:
    """Redis may lose any key at any moment."""

    async def test_before(self, cache: Cache, where: dict[str, str], kind: str) -> None:
        """What cannot be shown to be valid is loaded anew; what can be is not."""
        source = Source("old", "tag")
        await value(cache, source)
        ask(where["url"], "DEL", named(where, kind))
        await value(cache, source)
        assert source.loads == (1 if kind in ("lock", "clock") else 2)
        await cache.forget(tags=["tag"])
        source.value = "new"
        ask(where["url"], "DEL", named(where, kind))
        assert await value(cache, source) == "new"

    @pytest.mark.parametrize("when", ["before", "after", "both"])
    async def test_while_loading(
        self, cache: Cache, where: dict[str, str], kind: str, when: str
    ) -> None:
        """Before or after something is outdated: what was loaded before is not kept."""
        source, other = Source("old", "tag"), Source("old", "tag")
        await value(cache, other, "{other}")
        first = await filling(cache, source)
        second = await filling(cache, other, "{third}")
        source.value = other.value = "new"
        if when != "after":
            ask(where["url"], "DEL", named(where, kind))
        await cache.forget(tags=["tag"])
        if when != "before":
            ask(where["url"], "DEL", named(where, kind))
        for source_, task, key in ((source, first, "{key}"), (other, second, "{third}")):
            source_.answers.set()
            assert await task == "old"
            assert await value(cache, source_, key) == "new"
        assert await value(cache, other, "{other}") == "new"

    async def test_overwritten(self, cache: Cache, where: dict[str, str], kind: str) -> None:
        """What somebody else has written there does no harm, and does not stay."""
        source = Source("old", "tag")
        await value(cache, source)
        for junk in (b"", b"junk", b"\xff\x00", b"\x98", os.urandom(50)):
            ask(where["url"], "SET", named(where, kind), junk, "PX", 60_000)
            if kind == "lock":
                # It would be waited for.
                await cache.forget(keys=["{key}"])
            source.value = junk.hex()
            await cache.forget(tags=["tag"])
            assert await value(cache, source) == source.value
            loads = source.loads
            assert await value(cache, source) == source.value
            assert source.loads == loads


class TestReleases:
    async def test_version(self, where: dict[str, Any]) -> None:
        """A release that counts it up reads nothing of older ones, and harms nothing of theirs."""
        keys = []
        for version in (1, 2):
            settings = RedisSettings(**where, version=version)
            keys.append(Cache(RedisCache(settings), settings).key("family", "digest"))
        assert keys == ["{1:family:digest}", "{2:family:digest}"]


class TestSettings:
    @pytest.mark.parametrize("url", ["127.0.0.1:6379", "http://127.0.0.1", "redis://host:port"])
    async def test_url(self, url: str) -> None:
        """Refused when the settings are read, with the remedy."""
        with pytest.raises(ValidationError, match="it is no URL of Redis; write it like redis:"):
            RedisSettings(url=url)
