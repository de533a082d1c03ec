"""What a cache is built on: bytes under keys, tags that outdate them, and locks.

An entry is valid as long as nothing that it depends on has changed: the generation, which `clear`
replaces, and the token of each of its tags, which `forget` removes. What is missing is never valid,
and what is loaded without its lock is never kept, so that a backend may lose anything at any time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.infra.cache.figures import Figures, Ledger


class CacheUnavailable(Exception):
    """The cache does not answer, or is left alone for a while."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to load a key, and what the backend's counters said when it was given."""

    key: str
    owner: str
    """Random; tells the holders of the same lock apart."""
    generation: str
    clock: int
    """Counts, by one or more each, the times that tags were forgotten."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much is kept, tags and locks included."""

    entries: int
    bytes: int
    evictions: int
    """Entries that made room for others, since the start."""


class Backend(Protocol):
    """Where entries are kept. Any method but `open` and `close` may raise `CacheUnavailable`."""

    name: str

    def share(self, figures: Ledger) -> None:
        """Add `figures`, from time to time, to those of all processes, if there are others."""

    async def open(self) -> None:
        """Begin; a backend that does not answer is no reason not to start."""

    async def close(self) -> None:
        """Let go of every connection."""

    async def read(self, key: str) -> tuple[bytes | None, str | None]:
        """What is kept under `key`, and the generation."""

    async def tokens(self, tags: Sequence[str]) -> list[str | None]:
        """The token of each tag."""

    async def acquire(self, key: str, lease_seconds: float) -> Lease | None:
        """The lock of `key`; None while another load has it."""

    async def renew(self, lease: Lease, lease_seconds: float) -> None:
        """Keep the lock for another while, unless it was lost."""

    async def release(self, lease: Lease) -> bool:
        """Give the lock back; False when it was lost, or everything was outdated since."""

    async def depend(
        self, tags: Sequence[str], lease: Lease, ttl_seconds: float
    ) -> Mapping[str, str] | None:
        """The token of each tag, made where there is none, and kept for `ttl_seconds` or longer.

        None when one of them may have been forgotten since the lease was given.
        """

    async def keep(self, lease: Lease, value: bytes, ttl_seconds: float) -> bool:
        """Keep `value` and give the lock back.

        False when the lock was lost, and nothing is kept, or when everything was outdated since.
        """

    async def forget(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        """Outdate what is kept under `keys` or depends on `tags`, also what is being loaded."""

    async def clear(self) -> None:
        """Outdate everything."""

    async def totals(self) -> Mapping[str, Figures]:
        """The figures of all processes by name, as far as they were told."""

    async def usage(self) -> Usage:
        """How much is kept."""
