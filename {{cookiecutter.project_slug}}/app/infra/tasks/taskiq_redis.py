"""Taskiq over a Redis stream."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from taskiq import AsyncBroker, TaskiqError
from taskiq_redis import RedisStreamBroker

from app.infra.redis_url import RedisUrl
from app.infra.tasks.broker import BrokerSettings
from app.infra.tasks.taskiq import Taskiq

_BLOCK_SECONDS = 2.0
_STREAM_LENGTH = 100_000
"""Messages that the stream keeps, about; what was trimmed and not begun is sent again."""


class TaskiqRedisSettings(BrokerSettings):
    url: RedisUrl
    """Where the queue is: redis://, rediss:// for TLS, or unix://; a Redis that evicts nothing."""


class TaskiqRedis(Taskiq):
    errors = (RedisError, TaskiqError, TimeoutError, OSError)

    def make_broker(self) -> AsyncBroker:
        settings = self._settings
        return RedisStreamBroker(
            settings.url,
            queue_name=f"{settings.prefix}:tasks",
            consumer_group_name=f"{settings.prefix}:workers",
            # From the first message on: tasks may be sent before the first worker starts.
            consumer_id="0",
            maxlen=_STREAM_LENGTH,
            # One at a time, so that none waits here while another worker is free.
            xread_count=1,
            xread_block=int(_BLOCK_SECONDS * 1e3),
            # A message that nobody has confirmed is brought again; its task is not begun twice.
            idle_timeout=int(settings.lease_seconds * 1e3),
            unacknowledged_lock_timeout=settings.lease_seconds,
            socket_connect_timeout=settings.timeout_seconds,
            socket_timeout=_BLOCK_SECONDS + settings.timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )

    async def ping(self, broker: AsyncBroker) -> None:
        assert isinstance(broker, RedisStreamBroker)  # noqa: S101  # see make_broker
        async with Redis(connection_pool=broker.connection_pool) as redis:
            await redis.ping()
