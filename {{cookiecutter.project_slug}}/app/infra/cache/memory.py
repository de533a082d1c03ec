"""A cache in the memory of one process."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence

from app.infra.cache.backend import Lease, Usage
from app.infra.cache.entries import Entry, unpack
from app.infra.cache.figures import Figures, Ledger
from app.infra.cache.lru import Lru, MemoryBounds
from app.infra.cache.settings import CacheSettings


class MemorySettings(MemoryBounds, CacheSettings):
    """Settings of a cache in memory."""


class Memory:
    """A `Backend` whose methods never wait, so that each runs in one piece."""

    name = "memory"

    def __init__(
        self, settings: MemorySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # Entries and the tokens of tags share the bounds.
        self._kept = Lru(settings.max_entries, settings.max_bytes, clock)
        self._leases: dict[str, Lease] = {}
        self._generation = uuid.uuid4().hex
        self._clock = 0
        self._figures = Ledger()

    def share(self, figures: Ledger) -> None:
        self._figures = figures

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def read(self, key: str) -> tuple[bytes | None, str | None]:
        return self._kept.get(key), self._generation

    async def tokens(self, tags: Sequence[str]) -> list[str | None]:
        found = [self._kept.get(_tag(tag)) for tag in tags]
        return [None if token is None else token.decode() for token in found]

    def watch(self, key: str, entry: Entry) -> Callable[[], bool] | None:
        """Says whether `entry` is kept, and not outdated; None if it is not there."""
        data = self._kept.get(key)
        if data is None or unpack(data) != entry or entry.generation != self._generation:
            return None
        tokens = {_tag(tag): token.encode() for tag, token in entry.tokens.items()}
        return self._kept.watch({key: data, **tokens})

    async def acquire(self, key: str, _lease_seconds: float) -> Lease | None:
        if key in self._leases:
            return None
        lease = self._leases[key] = Lease(key, uuid.uuid4().hex, self._generation, self._clock)
        return lease

    async def renew(self, lease: Lease, lease_seconds: float) -> None:
        """A load in this process is never lost."""

    async def release(self, lease: Lease) -> bool:
        if self._leases.get(lease.key) is not lease:
            return False
        del self._leases[lease.key]
        return lease.generation == self._generation

    async def depend(
        self, tags: Sequence[str], lease: Lease, ttl_seconds: float
    ) -> Mapping[str, str] | None:
        tokens = {}
        for tag in tags:
            token = self._kept.get(_tag(tag))
            if token is None:
                # If anything was forgotten since, for who loads next.
                token = f"{self._clock}.{uuid.uuid4().hex}".encode()
                self._kept.put(_tag(tag), token, ttl_seconds)
            else:
                self._kept.extend(_tag(tag), ttl_seconds)
            tokens[tag] = token.decode()
        valid = all(int(token.partition(".")[0]) <= lease.clock for token in tokens.values())
        return tokens if valid else None

    async def keep(self, lease: Lease, value: bytes, ttl_seconds: float) -> bool:
        if not await self.release(lease):
            return False
        self._kept.put(lease.key, value, ttl_seconds)
        return True

    async def forget(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        for key in keys:
            self._kept.pop(key)
            self._leases.pop(key, None)
        self._clock += bool(tags)
        for tag in tags:
            self._kept.pop(_tag(tag))

    async def clear(self) -> None:
        self._kept.clear()
        self._generation = uuid.uuid4().hex

    async def totals(self) -> Mapping[str, Figures]:
        return self._figures

    async def usage(self) -> Usage:
        return Usage(len(self._kept), self._kept.bytes, self._kept.evictions)


def _tag(tag: str) -> str:
    return f"tag {tag}"
