"""Sessions in Redis, shared by every process of the service."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.errors import Unavailable
from app.infra import timing
from app.infra.redis import RedisConnection, connect
from app.infra.redis_url import RedisUrl
from app.infra.resilience.breaker import Breaker, BreakerOpen
from app.infra.sessions.settings import SessionSettings

Result = TypeVar("Result")

# Any other error is an answer: a Redis that is full can still be read.
_NO_ANSWER: tuple[type[Exception], ...] = (
    RedisConnectionError,
    RedisTimeoutError,
    OSError,
    TimeoutError,
)

# Each script has one key, so that a cluster runs it wherever that is.
_ADD = """
local kept = redis.call('GET', KEYS[1])
if kept then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return kept
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_TAKE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
return redis.call('DEL', KEYS[1])
"""


class RedisSessionSettings(RedisConnection, SessionSettings):
    url: RedisUrl = "redis://127.0.0.1:6380/0"
    """Where sessions are: redis://, rediss:// for TLS, or unix://; a Redis that evicts nothing."""


class RedisSessions:
    """A `SessionStore` in Redis 6.2 or newer, one round trip for each method.

    When it does not answer, each raises `Unavailable`, at once while the breaker is open.
    """

    def __init__(
        self, settings: RedisSessionSettings, connect: Callable[[RedisConnection], Redis] = connect
    ) -> None:
        self._settings = settings
        self._redis = connect(settings)
        self._breaker = Breaker(
            "sessions",
            failures=settings.breaker_failures,
            window_seconds=settings.breaker_window_seconds,
            errors=_NO_ANSWER,
        )
        # Who waits for a connection has not found Redis wanting, so that it is no failure.
        self._connections = asyncio.Semaphore(settings.max_connections)

    async def open(self) -> None:
        """Nothing is asked before the first request; who starts first does not matter."""

    async def close(self) -> None:
        await self._redis.aclose()

    async def read(self, key: str, ttl_seconds: float) -> bytes | None:
        value = await self._ask(lambda: self._redis.getex(self._key(key), px=_ms(ttl_seconds)))
        assert not isinstance(value, str)  # noqa: S101  # nothing is decoded
        return value

    async def add(self, key: str, value: bytes, ttl_seconds: float) -> bytes:
        kept: bytes = await self._run(_ADD, key, value, _ms(ttl_seconds))
        return kept

    async def replace(self, key: str, old: bytes, new: bytes, ttl_seconds: float) -> bool:
        return bool(await self._run(_REPLACE, key, old, new, _ms(ttl_seconds)))

    async def take(self, key: str, old: bytes) -> bool:
        return bool(await self._run(_TAKE, key, old))

    async def remove(self, key: str) -> None:
        await self._ask(lambda: self._redis.delete(self._key(key)))

    async def _run(self, script: str, key: str, *arguments: bytes | int) -> Any:
        return await self._ask(lambda: self._redis.eval(script, 1, self._key(key), *arguments))

    async def _ask(self, work: Callable[[], Awaitable[Result]]) -> Result:
        settings = self._settings
        started = time.perf_counter()
        try:
            async with self._connections:
                with self._breaker.attempt():
                    async with asyncio.timeout(
                        settings.connect_timeout_seconds + settings.timeout_seconds
                    ):
                        return await work()
        except (BreakerOpen, RedisError, OSError, TimeoutError) as error:
            raise Unavailable(
                "Sessions are out of reach; try again in a moment.",
                retry_after_seconds=math.ceil(settings.breaker_window_seconds),
            ) from error
        finally:
            timing.add("sessions", time.perf_counter() - started)

    def _key(self, key: str) -> str:
        return f"{self._settings.prefix}:{key}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1e3))
