"""Where a request's time goes."""

import asyncio
from contextvars import copy_context

import pytest

from app.infra import timing


def begin() -> dict[str, float]:
    """What the outermost layer does with each request."""
    parts: dict[str, float] = {}
    timing.parts.set(parts)
    return parts


class TestAdd:
    async def test_sums_up_by_part(self) -> None:
        """The same part twice is one part."""
        parts = begin()
        timing.add("store", 0.25)
        timing.add("cache", 1.0)
        timing.add("store", 0.5)
        assert parts == {"store": 0.75, "cache": 1.0}

    def test_outside_a_request(self) -> None:
        """Is not counted, and is no error: commands use the same code."""
        copy_context().run(self._outside)

    def _outside(self) -> None:
        timing.parts.set(None)
        timing.add("store", 1.0)
        assert timing.parts.get() is None

    async def test_requests_at_the_same_time(self) -> None:
        """Each counts its own, what its tasks spend included."""

        async def request(seconds: float) -> dict[str, float]:
            parts = begin()
            await asyncio.gather(*(self._spend(seconds) for _ in range(2)))
            return parts

        one, other = await asyncio.gather(request(1.0), request(2.0))
        assert (one, other) == ({"part": 2.0}, {"part": 4.0})

    async def _spend(self, seconds: float) -> None:
        timing.add("part", seconds)


class TestMeasured:
    def test_counts_the_time_of_the_block(self) -> None:
        """Also of one that fails."""
        copy_context().run(self._fail)

    def _fail(self) -> None:
        parts = begin()
        with pytest.raises(LookupError), timing.measured("part"):
            raise LookupError
        assert parts["part"] > 0
