"""Memory in front of Redis, which tells every process what has changed."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import structlog
from pydantic import Field
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection

from app.infra.cache.backend import Lease
from app.infra.cache.entries import Entry, unpack
from app.infra.cache.lru import Lru, MemoryBounds
from app.infra.cache.redis import FAILURES, RedisCache, RedisSettings
from app.infra.lifecycle import ended
from app.infra.redis import RedisConnection, connect

logger = structlog.get_logger()

# Something else may answer in its place.
_FAILURES: tuple[type[Exception], ...] = (*FAILURES, LookupError, TypeError, ValueError)
# Redis tells on this channel what has changed (its documentation: client-side caching).
_CHANNEL = b"__redis__:invalidate"


class TieredSettings(MemoryBounds, RedisSettings):
    local_ttl_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """Seconds after which memory asks Redis again, whatever it was told."""

    ping_seconds: Annotated[float, Field(gt=0, le=3_600)] = 1.0
    """Seconds of silence after which Redis is asked whether it is still there."""


class Tiered(RedisCache):
    """Redis, of which memory keeps what it has read until Redis says that it changed.

    A connection of its own hears of every change (`CLIENT TRACKING` in broadcasting mode). Without
    it, memory is empty and keeps nothing: it would not hear of a change.
    """

    name = "tiered"

    def __init__(
        self, settings: TieredSettings, connect: Callable[[RedisConnection], Redis] = connect
    ) -> None:
        super().__init__(settings, connect)
        self._local = Lru(settings.max_entries, settings.max_bytes)
        self._local_ttl_seconds = settings.local_ttl_seconds
        self._ping_seconds = settings.ping_seconds
        self._listens = False
        # What the reads of a key share that have begun since it last changed: the first that ends
        # is kept.
        self._reads: dict[str, object] = {}
        self._listening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await super().open()
        self._listening = asyncio.create_task(self._listen_forever())

    async def close(self) -> None:
        await ended(self._listening)
        await super().close()

    def watch(self, key: str, entry: Entry) -> Callable[[], bool] | None:
        """Says whether memory has `entry` and all that it depends on; None if it is not there."""
        data = self._local.get(self._entry(key))
        if data is None or unpack(data) != entry:
            return None
        tokens = {self._tag(tag): token.encode() for tag, token in entry.tokens.items()}
        generation = {self._generation_key: entry.generation.encode()}
        return self._local.watch({self._entry(key): data, **generation, **tokens})

    async def acquire(self, key: str, lease_seconds: float) -> Lease | None:
        try:
            return await super().acquire(key, lease_seconds)
        finally:
            # Who had the lock may have kept something, of which Redis has not told yet.
            self._outdate([self._entry(key)])

    async def keep(self, lease: Lease, value: bytes, ttl_seconds: float) -> bool:
        try:
            return await super().keep(lease, value, ttl_seconds)
        finally:
            self._outdate([self._entry(lease.key)])

    async def forget(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        changed = [*map(self._entry, keys), *map(self._tag, tags)]
        try:
            await super().forget(keys, tags)
        finally:
            # What Redis says of it may arrive later than the next request.
            self._outdate(changed)

    async def clear(self) -> None:
        try:
            await super().clear()
        finally:
            self._empty()

    async def _get(self, keys: Sequence[str]) -> list[bytes | None]:
        found = [self._local.get(key) for key in keys]
        if None not in found:
            return found
        missing = [key for key, value in zip(keys, found, strict=True) if value is None]
        read = await self._read_through(missing)
        return [read.get(key, value) for key, value in zip(keys, found, strict=True)]

    async def _read_through(self, keys: Sequence[str]) -> dict[str, bytes | None]:
        reads = {key: self._reads.setdefault(key, object()) for key in keys if self._listens}
        values = dict.fromkeys(keys)
        try:
            values = dict(zip(keys, await super()._get(keys), strict=True))
        finally:
            for key, read in reads.items():
                if self._reads.get(key) is read:
                    del self._reads[key]
                    if isinstance(value := values[key], bytes):
                        self._local.put(key, value, self._local_ttl_seconds)
        return values

    def _outdate(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._local.pop(key)
            self._reads.pop(key, None)

    def _empty(self) -> None:
        self._local.clear()
        self._reads.clear()

    async def _listen_forever(self) -> None:
        pool = ConnectionPool.from_url(self._settings.url, protocol=2)
        while True:
            connection = pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                await self._listen(connection)
            except _FAILURES as error:
                if self._listens:
                    logger.warning("cache no longer hears of changes", cause=str(error))
            finally:
                self._listens = False
                self._empty()
                with suppress(*FAILURES):
                    await connection.disconnect(nowait=True)
            await asyncio.sleep(self._ping_seconds)

    async def _listen(self, connection: AbstractConnection) -> None:
        async with asyncio.timeout(self._settings.connect_timeout_seconds):
            await connection.connect()  # type: ignore[no-untyped-call]
        own_id = await self._order(connection, "CLIENT", "ID")
        prefix = f"{self._settings.prefix}:"
        await self._order(
            connection, "CLIENT", "TRACKING", "ON", "REDIRECT", own_id, "BCAST", "PREFIX", prefix
        )
        await self._order(connection, "SUBSCRIBE", _CHANNEL)
        self._listens = True
        logger.info("cache hears of changes")
        while True:
            kind, *message = await self._hear(connection)
            if kind != b"message":
                continue
            changed: list[bytes] | None = message[1]
            if changed is None:
                self._empty()
            else:
                self._outdate([key.decode(errors="replace") for key in changed])

    async def _order(self, connection: AbstractConnection, *command: object) -> object:
        await connection.send_command(*command)
        return await _within(connection, self._settings.timeout_seconds)

    async def _hear(self, connection: AbstractConnection) -> list[Any]:
        """The next message; after a silence Redis has to show that it is there."""
        message = await connection.read_response(timeout=self._ping_seconds)
        if message is None:
            await connection.send_command("PING")
            message = await _within(connection, self._settings.timeout_seconds)
        return message  # type: ignore[no-any-return]


async def _within(connection: AbstractConnection, seconds: float) -> Any:
    message = await connection.read_response(timeout=seconds)
    if message is None:
        raise TimeoutError("Redis is silent")
    return message
