"""Looking, every now and then, at what does not tell by itself."""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psutil
import structlog

from app.infra.lifecycle import ended
from app.infra.monitoring.instruments import Counter, Gauge, Histogram

logger = structlog.get_logger()

_LIMIT_SECONDS = 1.0

Sample = Callable[[], Awaitable[None]]
"""Looks at something, and sets its gauges."""

CPU = Counter("process_cpu_seconds_total", "User and system CPU time, in seconds")
MEMORY = Gauge("process_resident_memory_bytes", "Resident memory, in bytes")
FILES = Gauge("process_open_fds", "Open file descriptors")
COLLECTIONS = Counter(
    "python_gc_collections_total", "Runs of the garbage collector", ["generation"]
)
LAG = Histogram(
    "event_loop_lag_seconds", "How much later than it was due a timer of the event loop ran"
)


@asynccontextmanager
async def sampled(samples: Sequence[Sample], every_seconds: float) -> AsyncIterator[None]:
    """Take `samples` and those of the process itself: at the start, now and then, at the end."""
    everything = [Process().sample, *samples]
    await _take(everything)
    sampler = asyncio.create_task(_sample_forever(everything, every_seconds))
    try:
        yield
    finally:
        await ended(sampler)
        await _take(everything)


class Process:
    """This process."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._cpu_seconds = 0.0
        self._collections = [0, 0, 0]

    async def sample(self) -> None:
        cpu_seconds, memory_bytes, files = await asyncio.to_thread(self._read)
        CPU.add(amount=cpu_seconds - self._cpu_seconds)
        self._cpu_seconds = cpu_seconds
        MEMORY.set(memory_bytes)
        FILES.set(files)
        for generation, stats in enumerate(gc.get_stats()):
            new = stats["collections"] - self._collections[generation]
            COLLECTIONS.add(str(generation), amount=new)
            self._collections[generation] = stats["collections"]

    def _read(self) -> tuple[float, int, int]:
        with self._process.oneshot():
            times = self._process.cpu_times()
            # Windows has handles, not file descriptors.
            process: Any = self._process
            files = process.num_handles() if sys.platform == "win32" else process.num_fds()
            return times.user + times.system, self._process.memory_info().rss, files


async def _sample_forever(samples: Sequence[Sample], every_seconds: float) -> None:
    while True:
        due = time.perf_counter() + every_seconds
        await asyncio.sleep(every_seconds)
        LAG.observe(max(0.0, time.perf_counter() - due))
        await _take(samples)


async def _take(samples: Sequence[Sample]) -> None:
    """Take all of them, side by side; what hangs is waited for no longer than a moment."""
    await asyncio.gather(*map(_take_one, samples))


async def _take_one(sample: Sample) -> None:
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            await sample()
    except Exception as error:  # noqa: BLE001  # what cannot be looked at must not stop the rest
        logger.debug("sample failed", cause=repr(error))
