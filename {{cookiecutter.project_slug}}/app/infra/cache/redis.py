"""A cache in Redis, shared by every process of the service."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Protocol, TypeVar

from pydantic import Field
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from app.errors import StartupError
from app.infra.cache.backend import CacheUnavailable, Lease, Usage
from app.infra.cache.settings import CacheSettings, Seconds
from app.infra.resilience.breaker import Breaker, BreakerOpen

Result = TypeVar("Result")

FAILURES: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
# What could not be outdated while Redis was away; more than this, and everything is.
_MOST_OWED = 10_000

# Each script has one key, so that a cluster runs it wherever that is. The clock is never behind the
# time: what counts up would begin anew if Redis evicted it.
_READ_CLOCK = """
local clock = redis.call('GET', KEYS[1])
if not clock then
    local now = redis.call('TIME')
    clock = string.format('%.0f', now[1] * 1000000 + now[2])
    redis.call('SET', KEYS[1], clock)
end
return clock
"""
_ADVANCE_CLOCK = """
local now = redis.call('TIME')
local clock = math.max(now[1] * 1000000 + now[2], (redis.call('GET', KEYS[1]) or 0) + 1)
redis.call('SET', KEYS[1], string.format('%.0f', clock))
"""
_READ_GENERATION = """
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
"""
# The token that is there, or the new one. Kept for twice as long as it has to be, so that not every
# load has to prolong it.
_READ_TOKEN = """
local token, ttl = redis.call('GET', KEYS[1]), tonumber(ARGV[2])
if not token then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', 2 * ttl)
    return ARGV[1]
end
if redis.call('PTTL', KEYS[1]) < ttl then
    redis.call('PEXPIRE', KEYS[1], 2 * ttl)
end
return token
"""
# KEYS: an entry and its lock, which are in the same slot.
_KEEP = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""
_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
"""


class RedisSettings(CacheSettings):
    url: str = "redis://127.0.0.1:6379/0"
    """Where the cache is: redis://, rediss:// for TLS, or unix://."""

    prefix: str = "cache"
    """Begins every key, so that several services can share a Redis."""

    max_connections: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Connections of each process to Redis; who needs another waits for one."""

    connect_timeout_seconds: Seconds = 0.5
    """Seconds in which a connection to Redis must be made."""

    timeout_seconds: Seconds = 0.5
    """Seconds in which Redis must answer."""

    breaker_failures: Annotated[int, Field(ge=1)] = 3
    """Failures in a row after which Redis is left alone."""

    breaker_window_seconds: Seconds = 2.0
    """Seconds after which one request tries Redis again."""


class Connectable(Protocol):
    """Settings of whatever is kept in a Redis."""

    url: str
    max_connections: int
    connect_timeout_seconds: float
    timeout_seconds: float


def connect(settings: Connectable, *, variable: str = "APP_CACHE__URL") -> "Redis[bytes]":
    """A client with a pool in which one waits, for a short time, and with one repetition at most.

    Raises:
        StartupError: the URL, which is set by `variable`, is none of Redis.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            settings.url,
            max_connections=settings.max_connections,
            socket_timeout=settings.timeout_seconds,
            socket_connect_timeout=settings.connect_timeout_seconds,
            # A connection may have died since it was used; a time-out is not repeated.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            # Of a service that moves connections away before its maintenance; it asks on connect.
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError as error:
        raise StartupError(
            f"{variable} is no URL of Redis ({error}); write it like redis://127.0.0.1:6379/0."
        ) from None
    return Redis(connection_pool=pool)


class RedisCache:
    """A `Backend` in Redis. When it does not answer, a breaker keeps it from being asked."""

    name = "redis"

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._redis = connect(settings)
        self._clock_key = f"{settings.prefix}:clock"
        self._generation_key = f"{settings.prefix}:generation"
        self._breaker = Breaker(
            "cache",
            failures=settings.breaker_failures,
            window_seconds=settings.breaker_window_seconds,
            errors=FAILURES,
        )
        # Who waits for a connection has not found Redis wanting, so that it is no failure.
        self._connections = asyncio.Semaphore(settings.max_connections)
        self._owed: set[str] = set()
        self._paying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Nothing is asked before the first request; who starts first does not matter."""

    async def close(self) -> None:
        if self._paying is not None:
            self._paying.cancel()
            await asyncio.wait([self._paying])
        await self._redis.aclose()

    async def read(self, key: str) -> tuple[bytes | None, str | None]:
        value, generation = await self._get([self._entry(key), self._generation_key])
        return value, None if generation is None else generation.decode()

    async def tokens(self, tags: Sequence[str]) -> list[str | None]:
        found = await self._get([self._tag(tag) for tag in tags])
        return [None if token is None else token.decode() for token in found]

    async def acquire(self, key: str, lease_seconds: float) -> Lease | None:
        owner = uuid.uuid4().hex

        async def acquire() -> Lease | None:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.set(self._lock(key), owner, nx=True, px=_ms(lease_seconds))
                pipeline.eval(_READ_GENERATION, 1, self._generation_key, uuid.uuid4().hex)
                pipeline.eval(_READ_CLOCK, 1, self._clock_key)
                acquired, generation, clock = await pipeline.execute()
            return Lease(key, owner, generation.decode(), int(clock)) if acquired else None

        return await self._ask(acquire)

    async def renew(self, lease: Lease, lease_seconds: float) -> None:
        lock = self._lock(lease.key)
        await self._ask(
            lambda: self._redis.eval(_RENEW, 1, lock, lease.owner, _ms(lease_seconds))
        )

    async def release(self, lease: Lease) -> None:
        await self._ask(lambda: self._redis.eval(_RELEASE, 1, self._lock(lease.key), lease.owner))

    async def depend(
        self, tags: Sequence[str], lease: Lease, ttl_seconds: float
    ) -> Mapping[str, str] | None:
        if not tags:
            return {}
        made = f"{lease.clock}.{uuid.uuid4().hex}"

        async def depend() -> list[bytes]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for tag in tags:
                    pipeline.eval(_READ_TOKEN, 1, self._tag(tag), made, _ms(ttl_seconds))
                # Last, for what is forgotten from here on removes the tokens that were read.
                pipeline.get(self._clock_key)
                found: list[bytes] = await pipeline.execute()
                return found

        *found, clock = await self._ask(depend)
        tokens = [token.decode() for token in found]
        if clock != str(lease.clock).encode() and any(
            token == made or int(token.partition(".")[0]) > lease.clock for token in tokens
        ):
            return None
        return dict(zip(tags, tokens, strict=True))

    async def keep(self, lease: Lease, value: bytes, ttl_seconds: float) -> bool:
        entry, lock = self._entry(lease.key), self._lock(lease.key)
        kept = await self._ask(
            lambda: self._redis.eval(_KEEP, 2, entry, lock, lease.owner, value, _ms(ttl_seconds))
        )
        return bool(kept)

    async def forget(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        removed = [*map(self._entry, keys), *map(self._lock, keys), *map(self._tag, tags)]
        try:
            await self._ask(lambda: self._remove(removed))
        except CacheUnavailable:
            self._owe(removed)
            raise

    async def clear(self) -> None:
        generation = uuid.uuid4().hex
        try:
            await self._ask(lambda: self._redis.set(self._generation_key, generation))
        except CacheUnavailable:
            await self._ask(lambda: self._redis.delete(self._generation_key))

    async def usage(self) -> Usage:
        async def usage() -> Usage:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.dbsize()
                pipeline.info("memory")
                pipeline.info("stats")
                size, memory, stats = await pipeline.execute()
            return Usage(size, memory["used_memory"], stats["evicted_keys"])

        return await self._ask(usage)

    async def _get(self, keys: Sequence[str]) -> list[bytes | None]:
        async def get() -> list[bytes | None]:
            if len(keys) == 1:
                return [await self._redis.get(keys[0])]
            # One by one, since a cluster has no MGET over several slots.
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.get(key)
                found: list[bytes | None] = await pipeline.execute()
                return found

        return await self._ask(get)

    async def _remove(self, keys: Sequence[str]) -> None:
        """Remove keys, having advanced the clock: what began before is not kept."""
        try:
            await self._redis.eval(_ADVANCE_CLOCK, 1, self._clock_key)
        except OutOfMemoryError:
            # Removing is always possible. Without a generation nothing is valid.
            await self._redis.delete(self._generation_key)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.delete(key)
            await pipeline.execute()

    async def _ask(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do `work` in time, unless Redis is left alone; whatever is owed is paid before."""
        settings = self._settings
        try:
            async with self._connections:
                with self._breaker.attempt():
                    async with asyncio.timeout(
                        settings.connect_timeout_seconds + settings.timeout_seconds
                    ):
                        return await self._paid(work)
        except (BreakerOpen, _Full, *FAILURES) as error:
            raise CacheUnavailable(str(error)) from error

    async def _paid(self, work: Callable[[], Awaitable[Result]]) -> Result:
        try:
            if self._owed:
                owed = frozenset(self._owed)
                await self._remove(sorted(owed))
                self._owed -= owed
            return await work()
        except OutOfMemoryError as error:
            # It answers, and has what it has: only nothing can be added.
            raise _Full(str(error)) from error

    def _owe(self, keys: Sequence[str]) -> None:
        """Remove `keys` as soon as Redis answers, before anything of it is believed."""
        self._owed.update(keys)
        if len(self._owed) > _MOST_OWED:
            self._owed = {self._generation_key}
        if self._paying is None or self._paying.done():
            self._paying = asyncio.create_task(self._pay())

    async def _pay(self) -> None:
        while self._owed:
            await asyncio.sleep(self._settings.breaker_window_seconds)
            with suppress(CacheUnavailable):
                await self._ask(self._redis.ping)

    def _entry(self, key: str) -> str:
        return f"{self._settings.prefix}:{key}"

    def _lock(self, key: str) -> str:
        return f"{self._settings.prefix}:{key}:lock"

    def _tag(self, tag: str) -> str:
        return f"{self._settings.prefix}:tag:{tag}"


class _Full(Exception):
    """Redis has no room, and evicts nothing."""


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1e3))
