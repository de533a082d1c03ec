"""What is looked at every now and then."""

import asyncio
import gc
import time

from app.infra.monitoring import listening
from app.infra.monitoring.sampling import sampled
from tests.figures import Figures

PATIENCE_SECONDS = 20


class TestProcess:
    async def test_is_looked_at(self) -> None:
        """CPU time, memory, files and collections of garbage, from the start on."""
        figures = Figures()
        async with listening(figures), sampled([], every_seconds=3_600):
            gc.collect()
        assert figures.total("process_cpu_seconds_total") > 0
        assert (figures.last("process_resident_memory_bytes") or 0) > 1_000_000
        assert (figures.last("process_open_fds") or 0) > 1
        assert figures.total("python_gc_collections_total", "2") >= 1

    async def test_cpu_time_is_counted_once(self) -> None:
        """However often it is looked at: a counter is told the difference."""
        figures = Figures()
        async with listening(figures), sampled([], every_seconds=0.001):
            await asyncio.wait_for(until_lagged(figures, 5), PATIENCE_SECONDS)
        assert figures.times("process_cpu_seconds_total") > 5
        # Some systems count in hundredths.
        assert figures.total("process_cpu_seconds_total") < time.process_time() + 0.02

    async def test_lag_of_the_event_loop(self) -> None:
        """How much later than it was due a timer ran."""
        figures = Figures()
        async with listening(figures), sampled([], every_seconds=0.001):
            await asyncio.wait_for(until_lagged(figures, 3), PATIENCE_SECONDS)
        assert figures.total("event_loop_lag_seconds") > 0


async def until_lagged(figures: Figures, times: int) -> None:
    while figures.times("event_loop_lag_seconds") < times:  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(0.001)


class TestFailure:
    async def test_keeps_nobody_from_looking(self) -> None:
        """A sample that fails, and one that hangs, are left out."""
        looked = asyncio.Event()

        async def fail() -> None:
            raise ConnectionError

        async def hang() -> None:
            await asyncio.Event().wait()

        async def look() -> None:
            looked.set()

        async with asyncio.timeout(PATIENCE_SECONDS), sampled([fail, hang, look], 3_600):
            assert looked.is_set()
