"""What is loaded before anybody asks, and how long the start waits for it."""

import asyncio

from app.infra.cache import Cache
from app.infra.cache.memory import Memory, MemorySettings
from app.infra.cache.settings import CacheSettings
from app.infra.cache.warming import HotRead, warmed
from tests.caches import Source, value
from tests.recorded import recorded

PATIENCE_SECONDS = 20
LATER = CacheSettings(warm_budget_seconds=PATIENCE_SECONDS, warm_interval_seconds=3600)
SOON = CacheSettings(warm_budget_seconds=PATIENCE_SECONDS, warm_interval_seconds=0.01)


class TestStart:
    async def test_reads_are_done_at_the_same_time(self) -> None:
        """Each waits for the other here, and both are done when the block begins."""
        barrier = asyncio.Barrier(2)
        done: list[str] = []

        def read(name: str) -> HotRead:
            async def together() -> None:
                await barrier.wait()
                done.append(name)

            return together

        async with asyncio.timeout(PATIENCE_SECONDS), warmed([read("a"), read("b")], LATER):
            assert sorted(done) == ["a", "b"]

    async def test_budget(self) -> None:
        """A read that hangs delays the start for no longer, and goes on."""
        answer, done = asyncio.Event(), asyncio.Event()

        async def hang() -> None:
            await answer.wait()
            done.set()

        short = LATER.model_copy(update={"warm_budget_seconds": 0.01})
        with recorded() as log:
            async with asyncio.timeout(PATIENCE_SECONDS), warmed([hang], short):
                assert not done.is_set()
                answer.set()
                await done.wait()
        assert len(log.of("cache is still being warmed")) == 1

    async def test_nothing_to_read(self) -> None:
        """The block begins at once."""
        async with asyncio.timeout(PATIENCE_SECONDS), warmed([], LATER):
            pass


class TestRepetition:
    async def test_again(self) -> None:
        """As long as the block runs, and no longer."""
        reads = 0
        thrice = asyncio.Event()

        async def read() -> None:
            nonlocal reads
            reads += 1
            if reads == 3:
                thrice.set()

        async with asyncio.timeout(PATIENCE_SECONDS), warmed([read], SOON):
            await thrice.wait()
        after = reads
        await asyncio.sleep(0.03)
        assert reads == after

    async def test_failure(self) -> None:
        """It is logged once, keeps neither the start nor the others, and is tried again."""
        attempts = 0
        healed = asyncio.Event()
        others: list[str] = []

        async def fail_thrice() -> None:
            nonlocal attempts
            attempts += 1
            if attempts <= 3:
                raise ConnectionError("gone")
            healed.set()

        async def other() -> None:
            others.append("read")

        with recorded() as log:
            async with asyncio.timeout(PATIENCE_SECONDS), warmed([fail_thrice, other], SOON):
                assert others
                await healed.wait()
        [line] = log.of("cache could not be warmed")
        assert "fail_thrice" in line["read"]

    async def test_counts_for_nobody(self) -> None:
        """What is asked for to keep it warm is neither a hit nor a miss."""
        settings = MemorySettings()
        cache = Cache(Memory(settings), settings)
        source = Source()
        thrice = asyncio.Event()
        reads = 0

        async def read() -> None:
            nonlocal reads
            await value(cache, source)
            reads += 1
            if reads == 3:
                thrice.set()

        async with asyncio.timeout(PATIENCE_SECONDS), warmed([read], SOON):
            await thrice.wait()
        figures = cache.figures["test"]
        assert (figures.hits, figures.misses, figures.loads) == (0, 0, 1)

    async def test_end(self) -> None:
        """A read that is still at work is cancelled when the service ends."""
        began, cancelled = asyncio.Event(), asyncio.Event()

        async def hang() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with asyncio.timeout(PATIENCE_SECONDS):
            async with warmed([hang], CacheSettings(warm_budget_seconds=0)):
                await began.wait()
            assert cancelled.is_set()
