"""What brings the ids of tasks to who performs them."""

import asyncio
from collections.abc import Sequence
from typing import Protocol


class Worker(Protocol):
    """Who is handed what a transport brings."""

    async def perform(self, task_id: str) -> None:
        """Perform the task; returns when nothing more is to be done for its message.

        Raises:
            Unavailable: the process ends, and nobody could be told; another one has to try.
        """

    async def reject(self, message: bytes, error: str) -> None:
        """Bury a message that is none of ours."""


class Transport(Protocol):
    """A queue of ids; it may lose, double and reorder them."""

    async def open(self) -> None:
        """Connect; raises `StartupError` with a sentence when that cannot be done."""

    async def close(self) -> None: ...

    async def check(self) -> None:
        """Raise `Unavailable` unless ids can be sent."""

    def room(self) -> int:
        """How many ids could be sent now."""

    def waiting(self) -> Sequence[str]:
        """Ids that wait in this process, and end with it."""

    async def send(self, task_ids: Sequence[str]) -> None:
        """Send them, in this order; raises `Unavailable`, and then some may have been sent."""

    async def consume(self, worker: Worker, concurrency: int, stopping: asyncio.Event) -> None:
        """Perform what comes, until `stopping` is set and what was begun has ended."""
