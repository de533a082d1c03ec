"""Loads in progress, which everybody who asks for the same shares."""

import asyncio
from dataclasses import dataclass

from app.infra.cache.entries import Entry


@dataclass(eq=False, slots=True)
class Flight:
    """A load in progress, and how many wait for it."""

    task: asyncio.Task[tuple[Entry, bool]]
    """What it brings, and whether that is outdated already."""
    detached: bool = False
    """Whether it goes on when nobody waits."""
    waiters: int = 0
    reads: bool = False
    """Whether it may have seen what a change from now on outdates; not while it waits its turn."""


class Flights(dict[str, Flight]):
    """The loads that may be shared, by key."""

    def drop(self, key: str, flight: Flight) -> None:
        """Let nobody else share `flight`."""
        if self.get(key) is flight:
            del self[key]

    def own(self, key: str) -> Flight | None:
        """The load of `key`, if the current task does it and it may be shared."""
        flight = self.get(key)
        return flight if flight is not None and flight.task is asyncio.current_task() else None

    def leave(self, key: str) -> None:
        """Let nobody else share the load that the current task does."""
        if self.own(key) is not None:
            del self[key]

    def reads(self, key: str, reads: bool) -> None:
        """Say of the load that the current task does whether it reads."""
        if (flight := self.own(key)) is not None:
            flight.reads = reads

    def outdate(self) -> None:
        """Let nobody share what has read before now."""
        for key in [key for key, flight in self.items() if flight.reads]:
            del self[key]
