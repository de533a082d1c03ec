"""Sends tasks: at once when they are kept, and again when nobody has begun them."""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from app.errors import Unavailable
from app.infra.tasks.ledger import Ledger
from app.infra.tasks.transport import Transport

logger = structlog.get_logger()

_BATCH = 100
_REMEMBERED = 10_000
_LATEST_RESEND = timedelta(hours=1)


class Relay:
    """Brings the ids of tasks from the ledger to the transport."""

    def __init__(
        self,
        ledger: Ledger,
        transport: Transport,
        resend_seconds: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger = ledger
        self._transport = transport
        self._resend = timedelta(seconds=resend_seconds)
        self._clock = clock
        # What does not fit, or is forgotten when the process ends, a sweep finds in the ledger.
        self._news: deque[str] = deque(maxlen=_REMEMBERED)
        self._arrived = asyncio.Event()

    def announce(self, task_id: str) -> None:
        """Send this one as soon as possible."""
        self._news.append(task_id)
        self._arrived.set()

    async def run(self) -> None:
        """Send what is announced, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._news:
                batch = [self._news.popleft() for _ in range(min(_BATCH, len(self._news)))]
                try:
                    await self._transport.send(batch)
                except Unavailable as error:
                    logger.warning("tasks wait to be sent", count=len(batch), cause=str(error))

    async def send_due(self) -> None:
        """Send what is due, and again what was sent long ago."""
        if not (room := min(_BATCH, self._transport.room())):
            return
        await self._transport.check()
        ids = await self._ledger.due(self._clock(), room, self.again_at)
        if ids:
            await self._transport.send(ids)

    def again_at(self, sends: int) -> datetime:
        """When a task that nobody has begun is sent again, which was sent so often before."""
        pause: timedelta = self._resend * 2 ** min(sends, 16)
        return self._clock() + min(pause, _LATEST_RESEND)
