"""A span for each command to Redis of what is traced."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from app.infra import redis
from app.infra.monitoring.opentelemetry import TRACER
from app.infra.redis import RedisConnection


def connect(settings: RedisConnection) -> Redis:
    """A client whose commands are spans."""
    return redis.connect(settings, _Traced)


class _Traced(Redis):
    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with _span(str(args[0])):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return _TracedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )


class _TracedPipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        # The names alone: keys and values are nobody's business.
        names = dict.fromkeys(str(arguments[0]) for arguments, _ in self.command_stack)
        with _span(" ".join(names)):
            return await super().execute(raise_on_error)


@contextmanager
def _span(name: str) -> Iterator[None]:
    # A pipeline may turn out to have nothing to do.
    if not name or not trace.get_current_span().is_recording():
        yield
        return
    attributes = {"db.system.name": "redis", "db.operation.name": name}
    with TRACER.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes):
        yield
