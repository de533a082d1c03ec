"""A pool whose connections go to who has waited longest, and that tells how long that was."""

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import Any

from sqlalchemy import AsyncAdaptedQueuePool, Pool, make_url
from sqlalchemy.exc import TimeoutError as AcquireTimeout
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.pool.base import _ConnectionRecord
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
        return await_only(self.wait(timeout))

    def put_nowait(self, item: Any) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(item)
                return
        super().put_nowait(item)

    async def wait(self, timeout: float | None) -> Any:  # noqa: ASYNC109  # the pool's own
        """The next connection that is given back; raises `Empty` when none is in time."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(waiter)
        late = None if timeout is None else loop.call_later(timeout, _expire, waiter)
        try:
            with timing.measured("queue"):
                return await waiter
        except BaseException:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                # It was handed over at this moment, to somebody who is gone.
                self._keep(waiter.result())
            raise
        finally:
            if late is not None:
                late.cancel()

    def _keep(self, item: Any) -> None:
        try:
            self.put_nowait(item)
        except Full:
            # One too many: the next who gives one back closes it.
            queue: Any = self._queue
            queue._queue.append(item)  # noqa: SLF001


def _expire(waiter: "asyncio.Future[Any]") -> None:
    if not waiter.done():
        waiter.set_exception(Empty())


class WatchedPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's, with fair turns, which can also be asked for no more than a connection."""

    # By which its logger is called: one of SQLAlchemy's, which says little.
    __module__ = AsyncAdaptedQueuePool.__module__
    _queue_class = _Queue
    _pool: _Queue
    _is_disposed = False

    async def lend(self) -> ConnectionPoolEntry | None:
        """A connection, to be handed to `take_back`, at a third of what a checkout costs.

        Each greenlet of SQLAlchemy's takes memory from the system and gives it back. None where
        each is asked whether it lives, where somebody listens to checkouts, or where SQLAlchemy
        has to open another.

        Raises:
            sqlalchemy.exc.TimeoutError: all of them are at work for too long.
            Exception: the driver's, where one has to be opened anew and cannot.
        """
        if self._pre_ping or self.dispatch.checkout or self.dispatch.checkin:
            return None
        if not self._pool.empty():
            record = self._pool.get_nowait()
        elif self._may_open():
            return None
        else:
            try:
                record = await self._pool.wait(self._timeout)
            except Empty:
                raise AcquireTimeout(f"no connection in {self._timeout:g} seconds") from None
        if record._is_hard_or_soft_invalidated() or self._is_old(record):  # noqa: SLF001
            # In its turn: given back, it would go to the next, and who waited would wait again.
            try:
                await greenlet_spawn(record.get_connection)
            except BaseException:
                await self.take_back(record)
                raise
        return record  # type: ignore[no-any-return]

    def _create_connection(self) -> ConnectionPoolEntry:
        # Opened when it is checked out: what cannot be opened is given back, to whoever waits.
        return _ConnectionRecord(self, connect=False)

    def _may_open(self) -> bool:
        return self._overflow < self._max_overflow

    async def take_back(self, record: ConnectionPoolEntry) -> None:
        """Let others have a connection that was lent, or close one too many."""
        if not self._is_disposed:
            with suppress(Full):
                self._pool.put_nowait(record)
                return
        await greenlet_spawn(self._return_conn, record)

    def dispose(self) -> None:
        """Close what is free now, and the rest as it is given back: who is cancelled does so late.

        SQLAlchemy would keep the rest open, for nobody.
        """
        self._is_disposed = True
        super().dispose()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if self._is_disposed:
            record.close()
        else:
            super()._do_return_conn(record)

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
