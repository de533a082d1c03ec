"""A pool whose connections go to who has waited longest, and that tells how long that was."""

import asyncio
import time
from collections import deque
from typing import Any

from sqlalchemy import AsyncAdaptedQueuePool, Pool, make_url
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.queue import AsyncAdaptedQueue, Empty, Full

from app.infra import timing


class _Queue(AsyncAdaptedQueue[Any]):
    """The connections that are free.

    One that is given back is handed to whoever waits. Otherwise who comes just then would take it,
    and who was woken for it would wait again behind all others.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiting: deque[asyncio.Future[Any]] = deque()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if not block or not self.empty():
            return self.get_nowait()
        with timing.measured("queue"):
            return await_only(self._wait(timeout))

    def put_nowait(self, item: Any) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(item)
                return
        super().put_nowait(item)

    async def _wait(self, timeout: float | None) -> Any:  # noqa: ASYNC109  # the pool's own
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(waiter)
        except BaseException as error:
            if waiter.cancel():
                self._waiting.remove(waiter)
            else:
                # It was handed over at this moment, to somebody who is gone.
                self.put_nowait(waiter.result())
            if isinstance(error, TimeoutError):
                raise Empty from None
            raise


class WatchedPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's, with fair turns, which can also be asked for no more than a connection."""

    # By which its logger is called: one of SQLAlchemy's, which says little.
    __module__ = AsyncAdaptedQueuePool.__module__
    _queue_class = _Queue
    _pool: _Queue

    def lend(self) -> ConnectionPoolEntry | None:
        """A free connection, to be handed to `take_back`, at a third of what a checkout costs.

        Each greenlet of SQLAlchemy's takes memory from the system and gives it back. None where
        there is more to do than to hand a connection over.
        """
        if self._pool.empty() or self._pre_ping or self.dispatch.checkout or self.dispatch.checkin:
            return None
        record: Any = self._pool.get_nowait()
        if record._is_hard_or_soft_invalidated() or self._is_old(record):  # noqa: SLF001
            self._pool.put_nowait(record)
            return None
        return record  # type: ignore[no-any-return]

    async def take_back(self, record: ConnectionPoolEntry) -> None:
        """Let others have a connection that was lent, or close one too many."""
        try:
            self._pool.put_nowait(record)
        except Full:
            await greenlet_spawn(self._return_conn, record)

    def _is_old(self, record: Any) -> bool:
        return bool(-1 < self._recycle < time.time() - record.starttime)


def pool_class(url: str) -> type[Pool]:
    """The pool of an engine for `url`: the one that SQLAlchemy would take, watched.

    Raises:
        ArgumentError: the URL is not one.
    """
    parsed = make_url(url)
    dialect: Any = parsed.get_dialect(_is_async=True)
    usual: type[Pool] = dialect.get_pool_class(parsed)
    return WatchedPool if usual is AsyncAdaptedQueuePool else usual
