"""A cache in Redis, shared by every process of the service."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import InvalidResponse, OutOfMemoryError, ReadOnlyError, RedisError

from app.infra.cache import scripts
from app.infra.cache.backend import CacheUnavailable, Lease, Usage
from app.infra.cache.figures import Figures, Ledger
from app.infra.cache.settings import CacheSettings
from app.infra.lifecycle import ended
from app.infra.redis import RedisConnection, connect
from app.infra.redis_url import RedisUrl
from app.infra.resilience.breaker import Breaker, BreakerOpen

logger = structlog.get_logger()

Result = TypeVar("Result")

FAILURES: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)


class _TakesNothing(Exception):
    """Redis answers, but has no room and evicts nothing, or is read-only."""


_REFUSALS: tuple[type[Exception], ...] = (BreakerOpen, _TakesNothing, *FAILURES)
# What could not be outdated while Redis was away; more than this, and everything is.
_MOST_OWED = 10_000

_TELL_EVERY_SECONDS = 5.0
_TOTALS_KEPT = timedelta(days=30)

# The clock, the generation and the tags have one slot, so that a script sees them at one moment.
_SHARED = ":{shared}:"
_LOCK = ":lock"


class RedisSettings(RedisConnection, CacheSettings):
    url: RedisUrl = "redis://127.0.0.1:6379/0"
    """Where the cache is: redis://, rediss:// for TLS, or unix://."""


class RedisCache:
    """A `Backend` in Redis. When it does not answer, a breaker keeps it from being asked."""

    name = "redis"

    def __init__(
        self, settings: RedisSettings, connect: Callable[[RedisConnection], Redis] = connect
    ) -> None:
        self._settings = settings
        self._redis = connect(settings)
        self._shared = settings.prefix + _SHARED
        self._clock_key = f"{self._shared}clock"
        self._generation_key = f"{self._shared}generation"
        self._breaker = Breaker(
            "cache",
            failures=settings.breaker_failures,
            window_seconds=settings.breaker_window_seconds,
            errors=FAILURES,
        )
        # Who waits for a connection has not found Redis wanting, so that it is no failure.
        self._connections = asyncio.Semaphore(settings.max_connections)
        self._takes = True
        self._figures = Ledger()
        # What of them was added to those of all processes.
        self._told = Ledger()
        self._totals_key = f"{settings.prefix}-figures"
        self._telling: asyncio.Task[None] | None = None
        self._owed: dict[str, object] = {}
        # Locks that may be given to somebody who does not wait for them any more.
        self._lost: dict[str, str] = {}
        self._paying: asyncio.Task[None] | None = None

    def share(self, figures: Ledger) -> None:
        self._figures = figures
        self._told = Ledger()

    async def open(self) -> None:
        """Nothing is asked before the first request; who starts first does not matter."""
        self._telling = asyncio.create_task(self._tell_forever())

    async def close(self) -> None:
        await ended(self._paying, self._telling)
        # The last word, with which what is owed is paid.
        with suppress(CacheUnavailable):
            await self._tell()
        await self._redis.aclose()

    async def read(self, key: str) -> tuple[bytes | None, str | None]:
        value, generation = await self._get([self._entry(key), self._generation_key])
        return value, None if generation is None else _text(generation)

    async def tokens(self, tags: Sequence[str]) -> list[str | None]:
        found = await self._get([self._tag(tag) for tag in tags])
        return [None if token is None else _text(token) for token in found]

    async def acquire(self, key: str, lease_seconds: float) -> Lease | None:
        owner = uuid.uuid4().hex

        async def acquire() -> Lease | None:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.set(self._lock(key), owner, nx=True, px=_ms(lease_seconds))
                pipeline.eval(
                    scripts.BEGIN, 2, self._clock_key, self._generation_key, uuid.uuid4().hex
                )
                acquired, (generation, clock) = await pipeline.execute()
            if not self._takes:
                self._takes = True
                logger.warning("cache takes entries again")
            return Lease(key, owner, _text(generation), int(clock)) if acquired else None

        acquiring = asyncio.create_task(self._ask(acquire))
        try:
            return await asyncio.shield(acquiring)
        except CacheUnavailable as error:
            if isinstance(error.__cause__, FAILURES):
                # Redis may do later what it was asked, and nobody would give the lock back.
                self._lost[self._lock(key)] = owner
                self._owe([])
            raise
        except asyncio.CancelledError:
            # What was asked for cannot be taken back, and nobody would give the lock back.
            with suppress(CacheUnavailable):
                if (lease := await acquiring) is not None:
                    await self.release(lease)
            raise

    async def renew(self, lease: Lease, lease_seconds: float) -> None:
        lock = self._lock(lease.key)
        await self._ask(
            lambda: self._redis.eval(scripts.RENEW, 1, lock, lease.owner, _ms(lease_seconds))
        )

    async def release(self, lease: Lease) -> bool:
        return await self._end(lease, scripts.RELEASE, [self._lock(lease.key)])

    async def depend(
        self, tags: Sequence[str], lease: Lease, ttl_seconds: float
    ) -> Mapping[str, str] | None:
        if not tags:
            return {}
        keys = [self._clock_key, *map(self._tag, tags)]
        unique = uuid.uuid4().hex

        async def depend() -> Mapping[str, str] | None:
            tokens: list[bytes] | None = await self._redis.eval(
                scripts.DEPEND, len(keys), *keys, lease.clock, unique, _ms(ttl_seconds)
            )
            return None if tokens is None else dict(zip(tags, map(_text, tokens), strict=True))

        return await self._ask(depend)

    async def keep(self, lease: Lease, value: bytes, ttl_seconds: float) -> bool:
        keys = [self._entry(lease.key), self._lock(lease.key)]
        return await self._end(lease, scripts.KEEP, keys, value, _ms(ttl_seconds))

    async def forget(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        removed = [*map(self._entry, keys), *map(self._tag, tags)]
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

    async def totals(self) -> dict[str, Figures]:
        found: dict[Any, Any] = await self._ask(lambda: self._redis.hgetall(self._totals_key))
        totals: defaultdict[str, Figures] = defaultdict(Figures)
        for field, count in found.items():
            name, _, figure = _text(field).rpartition(" ")
            # Another release may count other things.
            if figure in Figures.__slots__:
                setattr(totals[name], figure, float(count))
        return totals

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
                value: bytes | None = await self._redis.get(keys[0])  # type: ignore[assignment]
                return [value]
            # One by one, since a cluster has no MGET over several slots.
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.get(key)
                found: list[bytes | None] = await pipeline.execute()
                return found

        return await self._ask(get)

    async def _end(
        self, lease: Lease, script: str, keys: Sequence[str], *arguments: bytes | int
    ) -> bool:
        """Run a script that ends `lease`; False when it was lost, or everything outdated."""

        async def end() -> bool:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.eval(script, len(keys), *keys, lease.owner, *arguments)
                pipeline.get(self._generation_key)
                had, generation = await pipeline.execute()
            return bool(had) and generation is not None and _text(generation) == lease.generation

        return await self._ask(end)

    async def _remove(self, keys: Collection[str]) -> None:
        """Remove entries, with their locks, and tags; what began before is not kept."""
        shared = [key for key in keys if key.startswith(self._shared)]
        if shared:
            shared.insert(0, self._clock_key)
            try:
                await self._redis.eval(scripts.FORGET, len(shared), *shared)
            except OutOfMemoryError:
                # Removing is always possible, and the next clock is a later one.
                await self._redis.delete(*shared)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                if not key.startswith(self._shared):
                    # At once, so that nobody keeps anything in between.
                    pipeline.delete(key, key + _LOCK)
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
        except _REFUSALS as error:
            raise CacheUnavailable(str(error)) from error

    async def _paid(self, work: Callable[[], Awaitable[Result]]) -> Result:
        try:
            await self._pay()
            return await work()
        except (OutOfMemoryError, ReadOnlyError) as error:
            # What it has can still be read.
            if self._takes:
                self._takes = False
                logger.warning("cache takes nothing", cause=str(error))
            raise _TakesNothing(str(error)) from error
        except (LookupError, TypeError, ValueError) as error:
            raise InvalidResponse(f"something else answers like Redis ({error})") from error

    async def _pay(self) -> None:
        if self._owed:
            owed = self._owed.copy()
            await self._remove(owed)
            # But for what has come to be owed again.
            for key, debt in owed.items():
                if self._owed.get(key) is debt:
                    del self._owed[key]
        while self._lost:
            lock, owner = self._lost.popitem()
            await self._redis.eval(scripts.RELEASE, 1, lock, owner)

    def _owe(self, keys: Sequence[str]) -> None:
        """Remove `keys` as soon as Redis answers, before anything of it is believed."""
        self._owed |= dict.fromkeys(keys, object())
        if len(self._owed) > _MOST_OWED:
            self._owed = {self._generation_key: object()}
        if self._paying is None or self._paying.done():
            self._paying = asyncio.create_task(self._pay_later())

    async def _pay_later(self) -> None:
        while self._owed or self._lost:
            await asyncio.sleep(self._settings.breaker_window_seconds)
            with suppress(CacheUnavailable):
                await self._ask(self._redis.ping)

    async def _tell_forever(self) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_SECONDS)
            with suppress(CacheUnavailable):
                await self._tell()

    async def _tell(self) -> None:
        """Add what is new of the figures to those of all processes."""
        changes = {name: _less(now, self._told[name]) for name, now in self._figures.items()}
        news = {name: change for name, change in changes.items() if change != Figures()}

        async def add() -> None:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for name, figures in news.items():
                    for figure, count in asdict(figures).items():
                        pipeline.hincrbyfloat(self._totals_key, f"{name} {figure}", count)
                pipeline.expire(self._totals_key, _TOTALS_KEPT)
                await pipeline.execute()

        if news or self._owed:
            await self._ask(add)
            for name, change in news.items():
                self._told[name] = _less(self._told[name], change, sign=-1)

    def _entry(self, key: str) -> str:
        return f"{self._settings.prefix}:{key}"

    def _lock(self, key: str) -> str:
        return self._entry(key) + _LOCK

    def _tag(self, tag: str) -> str:
        return f"{self._shared}tag:{tag}"


def _text(data: bytes) -> str:
    if not isinstance(data, bytes):
        raise CacheUnavailable("something else answers like Redis")
    # Whatever somebody else has written there: it is compared, and then replaced.
    return data.decode(errors="replace")


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1e3))


def _less(these: Figures, those: Figures, sign: int = 1) -> Figures:
    subtracted = asdict(those)
    return Figures(
        **{field: count - sign * subtracted[field] for field, count in asdict(these).items()}
    )
