"""Bytes in memory, of which the least recently used go first."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import BaseModel, Field

# What CPython spends on an entry besides key and value: their headers, a tuple, a float, a slot.
_OVERHEAD_BYTES = 300


class MemoryBounds(BaseModel):
    max_entries: Annotated[int, Field(ge=1)] = 10_000
    """Number of entries in the memory of each process."""

    max_bytes: Annotated[int, Field(ge=1_000)] = 64 * 1024 * 1024
    """Bytes of entries, with their keys, in the memory of each process."""


class Lru:
    """Bytes by key, bounded in number, bytes and time; each operation takes O(1), amortised.

    What is over a bound goes one by one, so that a full cache never becomes an empty one.
    """

    def __init__(
        self, max_entries: int, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> bytes | None:
        """The value of `key`, which is now the most recently used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= self._clock():
            self.pop(key)
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def watch(self, values: Mapping[str, bytes]) -> Callable[[], bool]:
        """Says whether all of `values` are here, which counts as a use of them."""
        entries, clock, expected = self._entries, self._clock, tuple(values.items())

        def are_here() -> bool:
            now = clock()
            for key, value in expected:
                entry = entries.get(key)
                if entry is None or entry[0] != value or entry[1] <= now:
                    return False
                entries.move_to_end(key)
            return True

        return are_here

    def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Keep `value`, unless it is larger than everything may be together."""
        self.pop(key)
        size = _size(key, value)
        if size > self._max_bytes:
            return
        self._entries[key] = value, self._clock() + ttl_seconds
        self.bytes += size
        while self.bytes > self._max_bytes or len(self._entries) > self._max_entries:
            oldest, (evicted, _) = self._entries.popitem(last=False)
            self.bytes -= _size(oldest, evicted)
            self.evictions += 1

    def extend(self, key: str, ttl_seconds: float) -> None:
        """Keep `key`, which is there, for `ttl_seconds` at least."""
        value, expires = self._entries[key]
        self._entries[key] = value, max(expires, self._clock() + ttl_seconds)

    def pop(self, key: str) -> None:
        """Remove `key`, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= _size(key, entry[0])

    def clear(self) -> None:
        """Remove everything."""
        self._entries.clear()
        self.bytes = 0


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD_BYTES
