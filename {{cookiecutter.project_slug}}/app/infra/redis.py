"""Connections to Redis, with time-outs that are short and a breaker's bounds."""

from typing import Annotated

from pydantic import BaseModel, Field
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig

from app.infra.redis_url import RedisUrl

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class RedisConnection(BaseModel):
    """Settings of whatever is kept in a Redis."""

    url: RedisUrl
    """Where it is: redis://, rediss:// for TLS, or unix://."""

    prefix: str = "app"
    """Begins every key, so that several services can share a Redis."""

    max_connections: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Connections of each process to Redis; who needs another waits for one."""

    connect_timeout_seconds: Seconds = 0.5
    """Seconds in which a connection to Redis must be made."""

    timeout_seconds: Seconds = 0.5
    """Seconds in which Redis must answer."""

    breaker_failures: Annotated[int, Field(ge=1)] = 3
    """Number of failures in a row after which Redis is left alone."""

    breaker_window_seconds: Seconds = 2.0
    """Seconds after which one request tries Redis again."""


def connect(settings: RedisConnection, client: type[Redis] = Redis) -> Redis:
    """A `client` with a pool in which one waits, and with one repetition at most."""
    pool = BlockingConnectionPool.from_url(
        settings.url,
        max_connections=settings.max_connections,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.connect_timeout_seconds,
        # A connection may have died since it was used; a time-out is not repeated.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        # Of a service that moves connections away before its maintenance; it asks on connect.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        # It tells Redis its version, which it reads from the disk for each connection.
        driver_info=None,
    )
    # The client closes the pool when it is closed.
    return client.from_pool(pool)
