"""What brings the ids of tasks to who performs them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

Perform = Callable[[str], Awaitable[None]]
"""Performs the task of that id; returns when nothing more is to be done for its message."""


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

    async def consume(self, perform: Perform, concurrency: int, stopping: asyncio.Event) -> None:
        """Perform what comes, until `stopping` is set and what was begun has ended."""
