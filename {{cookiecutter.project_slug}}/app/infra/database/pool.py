"""A pool that tells how long a request has waited for a connection."""

from typing import Any

from sqlalchemy import AsyncAdaptedQueuePool, Pool, make_url
from sqlalchemy.util.queue import AsyncAdaptedQueue

from app.infra import timing


class _Queue(AsyncAdaptedQueue[Any]):
    """The connections that are free."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if not block or not self.empty():
            return super().get(block, timeout)
        with timing.measured("queue"):
            return super().get(block, timeout)


class _WatchedPool(AsyncAdaptedQueuePool):
    # By which its logger is called: one of SQLAlchemy's, which says little.
    __module__ = AsyncAdaptedQueuePool.__module__
    _queue_class = _Queue


def pool_class(url: str) -> type[Pool]:
    """The pool of an engine for `url`: the one that SQLAlchemy would take, watched.

    Raises:
        ArgumentError: the URL is not one.
    """
    parsed = make_url(url)
    dialect: Any = parsed.get_dialect(_is_async=True)
    usual: type[Pool] = dialect.get_pool_class(parsed)
    return _WatchedPool if usual is AsyncAdaptedQueuePool else usual
