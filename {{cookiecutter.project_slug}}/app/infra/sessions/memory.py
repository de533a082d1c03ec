"""Sessions in the memory of one process; they end with it."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from app.infra.sessions.settings import SessionSettings


class MemorySessionSettings(SessionSettings):
    max_sessions: Annotated[int, Field(ge=2)] = 10_000
    """Number of sessions in memory, each user counting as one; beyond, the longest idle ends."""


class MemorySessions:
    """A `SessionStore` whose methods never wait, so that each runs in one piece, in O(1)."""

    def __init__(
        self, settings: MemorySessionSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = settings.max_sessions
        self._clock = clock
        # The longest idle come first. A user is read after the session, and so outlives it.
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def read(self, key: str, ttl_seconds: float) -> bytes | None:
        value = self._get(key)
        if value is not None:
            self._put(key, value, ttl_seconds)
        return value

    async def add(self, key: str, value: bytes, ttl_seconds: float) -> bytes:
        kept = self._get(key)
        if kept is None:
            kept = value
        self._put(key, kept, ttl_seconds)
        return kept

    async def replace(self, key: str, old: bytes, new: bytes, ttl_seconds: float) -> bool:
        if self._get(key) != old:
            return False
        self._put(key, new, ttl_seconds)
        return True

    async def take(self, key: str, old: bytes) -> bool:
        if self._get(key) != old:
            return False
        del self._kept[key]
        return True

    async def remove(self, key: str) -> None:
        self._kept.pop(key, None)

    def _get(self, key: str) -> bytes | None:
        entry = self._kept.get(key)
        if entry is None:
            return None
        value, expires = entry
        if expires <= self._clock():
            del self._kept[key]
            return None
        return value

    def _put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        self._kept[key] = value, self._clock() + ttl_seconds
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
