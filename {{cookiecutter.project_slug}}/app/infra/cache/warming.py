"""What is asked for often is loaded before anybody asks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from app.infra.cache.cache import counted
from app.infra.cache.settings import CacheSettings
from app.infra.lifecycle import ended

logger = structlog.get_logger()

HotRead = Callable[[], Awaitable[object]]
"""A read through the cache that many will ask for."""


@asynccontextmanager
async def warmed(reads: Sequence[HotRead], settings: CacheSettings) -> AsyncIterator[None]:
    """Do `reads` at the same time, and again as long as the block runs.

    The block begins when all are done, or after `warm_budget_seconds`; those that take longer go
    on. One that begins to fail is logged, and tried again with the others. As they are repeated in
    time, what they read is loaded anew before it is too old.
    """
    first = asyncio.Event()
    warming = asyncio.create_task(_warm_forever(reads, settings.warm_interval_seconds, first))
    try:
        try:
            async with asyncio.timeout(settings.warm_budget_seconds):
                await first.wait()
        except TimeoutError:
            logger.info("cache is still being warmed")
        yield
    finally:
        await ended(warming)


async def _warm_forever(
    reads: Sequence[HotRead], every_seconds: float, first: asyncio.Event
) -> None:
    counted.set(False)
    failing: set[HotRead] = set()
    while True:
        async with asyncio.TaskGroup() as group:
            for read in reads:
                group.create_task(_try(read, failing))
        first.set()
        await asyncio.sleep(every_seconds)


async def _try(read: HotRead, failing: set[HotRead]) -> None:
    """Do `read`; when it begins to fail, that is logged, but not each time."""
    try:
        await read()
    except Exception as error:
        if read not in failing:
            failing.add(read)
            name = getattr(read, "__qualname__", repr(read))
            logger.warning("cache could not be warmed", read=name, exc_info=error)
    else:
        failing.discard(read)
