"""Opening and closing what the service is made of."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import structlog

logger = structlog.get_logger()

_CANCEL_EVERY_SECONDS = 1.0


class Room(Protocol):
    """Something that is opened at the start and closed at the end."""

    @property
    def name(self) -> str:
        """What the logs and the health check call it."""

    async def open(self) -> None:
        """Connect; raises `StartupError` with a sentence when that cannot be done."""

    async def close(self) -> None:
        """Let go of everything that `open` took; called only after `open` succeeded."""


async def ended(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel `tasks` until they have ended.

    Once is not enough where a driver first asks a server that hangs to give its statement up, nor
    on Python 3.11, where `asyncio.wait_for` loses a cancellation that comes when what it waits for
    is done (https://github.com/python/cpython/issues/86296).
    """
    left = {task for task in tasks if task is not None}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_EVERY_SECONDS)


@asynccontextmanager
async def opened(*rooms: Room) -> AsyncIterator[None]:
    """Open `rooms` at the same time and close them in reverse order.

    When one fails to open, the others are cancelled or closed and its error is raised as it is. A
    room that fails to close is logged and keeps no other from closing.
    """
    ready: list[Room] = []

    async def open_room(room: Room) -> None:
        started = time.perf_counter()
        await room.open()
        ready.append(room)
        duration_ms = round((time.perf_counter() - started) * 1e3, 1)
        logger.info("room opened", room=room.name, duration_ms=duration_ms)

    try:
        try:
            async with asyncio.TaskGroup() as group:
                for room in rooms:
                    group.create_task(open_room(room))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        yield
    finally:
        for room in sorted(ready, key=rooms.index, reverse=True):
            try:
                await room.close()
            except Exception:
                logger.exception("room failed to close", room=room.name)
