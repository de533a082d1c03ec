"""Many ask at about the same time, and one load answers them all."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from app.infra.database.batcher import Batcher
from tests.loads import NEVER, SlowStore, Store, Windows, asking, outcomes, soon


@pytest.fixture
async def windows(monkeypatch: pytest.MonkeyPatch) -> Windows:
    loop = asyncio.get_running_loop()
    windows = Windows(loop)
    monkeypatch.setattr(loop, "call_later", windows.call_later)
    return windows


class TestMerging:
    async def test_keys_of_the_same_turn(self) -> None:
        """Even without a window, they are one load; each asker gets their own value."""
        store = Store(a="1", b="2", c="3")
        batcher = Batcher(store.load, window_seconds=0, maximum=10)
        assert await outcomes(await asking(batcher, "a", "b", "c")) == ["1", "2", "3"]
        assert store.asked == [("a", "b", "c")]

    async def test_the_same_key(self) -> None:
        """Is loaded once."""
        store = Store(a="1", b="2")
        batcher = Batcher(store.load, window_seconds=0, maximum=10)
        assert await outcomes(await asking(batcher, "a", "b", "a")) == ["1", "2", "1"]
        assert store.asked == [("a", "b")]

    async def test_missing_key(self) -> None:
        """Is None, and no error to those whose key is there."""
        batcher = Batcher(Store(a="1").load, window_seconds=0, maximum=10)
        assert await outcomes(await asking(batcher, "a", "b")) == ["1", None]

    async def test_after_the_load_began(self) -> None:
        """Nobody gets what was read before they asked."""
        store = SlowStore(a="old")
        batcher = Batcher(store.load, window_seconds=0, maximum=10)
        early = await asking(batcher, "a")
        await soon(store.reached.wait())
        store.rows["a"] = "new"
        late = await asking(batcher, "a")
        store.answer.set()
        assert await outcomes(early + late) == ["old", "new"]
        assert store.asked == [("a",), ("a",)]


class TestMaximum:
    async def test_full_batch_does_not_wait(self) -> None:
        """And the rest is another batch."""
        store = Store()
        batcher = Batcher(store.load, window_seconds=NEVER, maximum=2)
        await outcomes(await asking(batcher, "a", "b", "c", "d"))
        assert store.asked == [("a", "b"), ("c", "d")]

    async def test_counts_keys(self) -> None:
        """Not those who ask for them."""
        store = Store()
        batcher = Batcher(store.load, window_seconds=NEVER, maximum=2)
        await outcomes(await asking(batcher, "a", "a", "b"))
        assert store.asked == [("a", "b")]

    async def test_counts_nobody_who_is_gone(self) -> None:
        """A key that nobody wants any more leaves its place to another."""
        store = Store()
        batcher = Batcher(store.load, window_seconds=NEVER, maximum=3)
        tasks = await asking(batcher, "a", "b")
        tasks[0].cancel()
        await outcomes(tasks[:1])
        tasks += await asking(batcher, "c", "d")
        await outcomes(tasks)
        assert store.asked == [("b", "c", "d")]

    async def test_window_of_a_full_batch(self, windows: Windows) -> None:
        """Is over: it ends nobody else's."""
        store = Store()
        batcher = Batcher(store.load, window_seconds=1, maximum=2)
        await outcomes(await asking(batcher, "a", "b"))
        windows.end()
        await soon(batcher.close())
        assert store.asked == [("a", "b")]


class TestWindow:
    async def test_is_opened_by_the_first(self, windows: Windows) -> None:
        """Those who come later do not make the first wait longer."""
        store = Store()
        batcher = Batcher(store.load, window_seconds=0.5, maximum=10)
        early = await asking(batcher, "a")
        late = await asking(batcher, "b")
        assert (windows.seconds, store.asked) == ([0.5], [])
        windows.end()
        await outcomes(early + late)
        assert store.asked == [("a", "b")]

    async def test_next_batch_has_its_own(self, windows: Windows) -> None:
        """Which the end of the one before does not end."""
        store = Store()
        batcher = Batcher(store.load, window_seconds=0.5, maximum=10)
        for key in "ab":
            tasks = await asking(batcher, key)
            windows.end()
            await outcomes(tasks)
        assert windows.seconds == [0.5, 0.5]
        assert store.asked == [("a",), ("b",)]


class TestCancellation:
    async def test_before_the_load(self, windows: Windows) -> None:
        """A key that only the cancelled wanted is not loaded."""
        store = Store(a="1", b="2")
        batcher = Batcher(store.load, window_seconds=1, maximum=10)
        tasks = await asking(batcher, "a", "b", "a", "c")
        for task in (tasks[0], tasks[3]):
            task.cancel()
        await outcomes([tasks[0], tasks[3]])
        windows.end()
        assert await outcomes(tasks[1:3]) == ["2", "1"]
        assert store.asked == [("a", "b")]

    async def test_during_the_load(self) -> None:
        """Those who still wait are answered, the same key's included."""
        store = SlowStore(a="1", b="2")
        batcher = Batcher(store.load, window_seconds=0, maximum=10)
        tasks = await asking(batcher, "a", "a", "b")
        await soon(store.reached.wait())
        tasks[0].cancel()
        await outcomes(tasks[:1])
        store.answer.set()
        assert await outcomes(tasks[1:]) == ["1", "2"]

    async def test_as_the_load_ends(self) -> None:
        """An answer that comes too late for one is in time for the other."""

        async def load(_keys: Sequence[str]) -> Mapping[str, str]:
            # Comes after the end of the load, and before anybody is answered.
            asyncio.get_running_loop().call_soon(tasks[0].cancel)
            return {"a": "1"}

        batcher = Batcher(load, window_seconds=0, maximum=10)
        tasks = await asking(batcher, "a", "a")
        assert await outcomes(tasks[1:]) == ["1"]
        assert tasks[0].cancelled()

    async def test_of_all_before_the_load(self, windows: Windows) -> None:
        """Nothing is loaded, and who asks next is the first of a batch again."""
        store = Store(b="2")
        batcher = Batcher(store.load, window_seconds=1, maximum=10)
        gone = await asking(batcher, "a", "a")
        for task in gone:
            task.cancel()
        await outcomes(gone)
        windows.end()
        tasks = await asking(batcher, "b")
        windows.end()
        assert await outcomes(tasks) == ["2"]
        assert (len(windows.seconds), store.asked) == (2, [("b",)])

    async def test_of_all_during_the_load(self) -> None:
        """The last who leaves ends it."""
        store = SlowStore()
        batcher = Batcher(store.load, window_seconds=0, maximum=10)
        first, last = await asking(batcher, "a", "b")
        await soon(store.reached.wait())
        [load] = batcher._loads
        first.cancel()
        await outcomes([first])
        assert not load.cancelling()
        last.cancel()
        await outcomes([last])
        await soon(batcher.close())
        assert load.cancelled()

    async def test_of_the_load(self) -> None:
        """By others, even before it began: nobody waits for it for ever."""
        batcher = Batcher(Store().load, window_seconds=NEVER, maximum=1)
        tasks = await asking(batcher, "a")
        [load] = batcher._loads
        load.cancel()
        await outcomes(tasks)
        assert tasks[0].cancelled()
