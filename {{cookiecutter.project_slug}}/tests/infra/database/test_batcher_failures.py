"""Loads that fail, that take time, or that are on their way when the service ends."""

import asyncio
import gc
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from contextvars import ContextVar
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra import timing
from app.infra.database import batcher as module
from app.infra.database.batcher import Batcher
from tests.loads import NEVER, FailingStore, SlowStore, Store, asking, outcomes, soon

tenant: ContextVar[str] = ContextVar("tenant")


@pytest.fixture
async def noise() -> AsyncIterator[list[str]]:
    """What the loop complains about."""
    heard: list[str] = []
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: heard.append(context["message"]))
    yield heard
    loop.set_exception_handler(handler)


class TestErrors:
    async def test_reach_everybody(self) -> None:
        """As they are."""
        store = FailingStore()
        store.answer.set()
        batcher = Batcher(store.load, window_seconds=0, maximum=10)
        assert await outcomes(await asking(batcher, "a", "b", "a")) == [store.error] * 3

    async def test_have_the_traceback_of_the_load(self) -> None:
        """Each asker adds their own frames to it, not to another's."""
        store = FailingStore()
        store.answer.set()
        batcher = Batcher(store.load, window_seconds=0, maximum=10)

        async def frames() -> list[str]:
            with pytest.raises(ConnectionError) as caught:
                await batcher.get("a")
            return [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]

        one, *others = await soon(asyncio.gather(*(frames() for _ in range(3))))
        assert (one[:2], one[-1]) == (["frames", "get"], "load")
        assert others == [one, one]

    async def test_do_not_last(self) -> None:
        """The next batch is a new attempt."""
        store = FailingStore(a="1")
        store.answer.set()
        batcher = Batcher(store.load, window_seconds=0, maximum=10)
        await outcomes(await asking(batcher, "a"))
        store.error = None
        assert await outcomes(await asking(batcher, "a")) == ["1"]

    async def test_for_nobody(self, noise: list[str]) -> None:
        """A load that fails as it is cancelled bothers neither those who left nor the loop."""
        store = SlowStore()

        async def load(keys: Sequence[str]) -> Mapping[str, str]:
            try:
                return await store.load(keys)
            except asyncio.CancelledError:
                raise ConnectionError from None

        batcher = Batcher(load, window_seconds=0, maximum=10)
        tasks = await asking(batcher, "a")
        await soon(store.reached.wait())
        tasks[0].cancel()
        await outcomes(tasks)
        await soon(batcher.close())
        del tasks
        gc.collect()
        assert noise == []

    async def test_for_those_who_stayed(self, noise: list[str]) -> None:
        """Are theirs alone: the loop does not complain that another has left."""
        store = FailingStore()
        batcher = Batcher(store.load, window_seconds=0, maximum=10)
        leaves, stays = await asking(batcher, "a", "a")
        await soon(store.reached.wait())
        leaves.cancel()
        await outcomes([leaves])
        store.answer.set()
        assert await outcomes([stays]) == [store.error]
        del leaves, stays
        gc.collect()
        assert noise == []

    def test_interrupt(self) -> None:
        """Stops the loop once; those who wait are cancelled, and do not stop it again."""
        store = FailingStore()
        store.error = SystemExit()
        store.answer.set()
        batcher = Batcher(store.load, window_seconds=0, maximum=10)
        with closing(asyncio.new_event_loop()) as loop:
            task = loop.create_task(batcher.get("a"))
            with pytest.raises(SystemExit):
                loop.run_until_complete(task)
            with pytest.raises(asyncio.CancelledError):
                loop.run_until_complete(soon(task))


class TestTiming:
    async def test_each_counts_their_own_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From when they asked, the window included."""
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
        store = SlowStore()
        batcher = Batcher(store.load, window_seconds=NEVER, maximum=2)

        async def request(key: str) -> dict[str, float]:
            parts: dict[str, float] = {}
            timing.parts.set(parts)
            await batcher.get(key)
            return parts

        early = asyncio.create_task(request("a"))
        await asyncio.sleep(0)
        clock.now = 2.0
        late = asyncio.create_task(request("b"))
        await soon(store.reached.wait())
        clock.now = 5.0
        store.answer.set()
        assert await outcomes([early, late]) == [{"database": 5.0}, {"database": 3.0}]

    async def test_who_leaves_counts_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Time that was waited in vain was waited."""
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
        parts: dict[str, float] = {}
        timing.parts.set(parts)
        tasks = await asking(Batcher(Store().load, window_seconds=NEVER, maximum=2), "a")
        clock.now = 1.5
        tasks[0].cancel()
        await outcomes(tasks)
        assert parts == {"database": 1.5}

    async def test_load_is_nobodys_request(self) -> None:
        """What it counts is not counted; the rest of the context is the first asker's."""
        seen: list[tuple[str, dict[str, float] | None]] = []

        async def load(_keys: Sequence[str]) -> Mapping[str, str]:
            seen.append((tenant.get(), timing.parts.get()))
            timing.add("load", 1.0)
            return {}

        batcher = Batcher(load, window_seconds=NEVER, maximum=2)

        async def request(key: str) -> dict[str, float]:
            parts: dict[str, float] = {}
            timing.parts.set(parts)
            tenant.set(f"tenant of {key}")
            await batcher.get(key)
            assert timing.parts.get() is parts
            return parts

        requests = await soon(asyncio.gather(request("a"), request("b")))
        assert [list(parts) for parts in requests] == [["database"], ["database"]]
        assert seen == [("tenant of a", None)]


class TestClose:
    async def test_answers_those_who_wait(self) -> None:
        """Without waiting for the window."""
        batcher = Batcher(Store(a="1").load, window_seconds=NEVER, maximum=10)
        tasks = await asking(batcher, "a")
        await soon(batcher.close())
        assert await outcomes(tasks) == ["1"]

    async def test_waits_for_loads_that_are_cancelled(self) -> None:
        """They still hold what they have opened."""
        store = SlowStore()
        batcher = Batcher(store.load, window_seconds=0, maximum=10)
        tasks = await asking(batcher, "a")
        await soon(store.reached.wait())
        [load] = batcher._loads
        tasks[0].cancel()
        await outcomes(tasks)
        assert not load.done()
        await soon(batcher.close())
        assert load.done()

    async def test_idle(self) -> None:
        """Has nothing to wait for."""
        await Batcher(Store().load, window_seconds=0, maximum=1).close()


class Ledger:
    """Key 0 is found by nobody; the others' value tells which load has read it."""

    def __init__(self) -> None:
        self.batches: list[Sequence[int]] = []
        self.answers = asyncio.Semaphore(0)

    async def load(self, keys: Sequence[int]) -> Mapping[int, tuple[int, int]]:
        number = len(self.batches)
        self.batches.append(keys)
        await self.answers.acquire()
        return {key: (key, number) for key in keys if key}


class TestAnySequence:
    @given(
        st.lists(st.tuples(st.sampled_from(["ask", "leave", "turn", "answer"]), st.integers(0, 5))),
        st.sampled_from([0, NEVER]),
        st.integers(1, 4),
    )
    async def test_who_stays_gets_their_own(
        self, steps: list[tuple[str, int]], window_seconds: int, maximum: int
    ) -> None:
        """Read after they asked, in batches of distinct keys and no more than the maximum."""
        ledger = Ledger()
        batcher = Batcher(ledger.load, window_seconds=window_seconds, maximum=maximum)

        async def ask(key: int) -> None:
            earlier = len(ledger.batches)
            found = await batcher.get(key)
            if found:
                assert (found[0], found[1] >= earlier) == (key, True)
            assert (found is None) == (key == 0)

        tasks: list[asyncio.Task[None]] = []
        gone: set[asyncio.Task[None]] = set()
        for step, number in steps:
            if step == "ask":
                tasks.append(asyncio.create_task(ask(number)))
            elif step == "leave" and number < len(tasks) and tasks[number].cancel():
                gone.add(tasks[number])
            elif step == "turn":
                await asyncio.sleep(0)
            elif step == "answer":
                ledger.answers.release()
        await asyncio.sleep(0)
        for _ in tasks:
            ledger.answers.release()
        await soon(batcher.close())
        expected = [asyncio.CancelledError if task in gone else type(None) for task in tasks]
        assert [type(outcome) for outcome in await outcomes(tasks)] == expected
        assert all(len(set(keys)) == len(keys) <= maximum for keys in ledger.batches)
        assert (batcher._gathering, batcher._loads) == (None, set())
