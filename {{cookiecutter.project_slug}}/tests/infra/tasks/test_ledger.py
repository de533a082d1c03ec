"""What every ledger keeps."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from app.infra.tasks.ledger import Ledger, State, Superseded, Task
from app.settings import Settings
from tests.infra.tasks.books import KINDS, at, make_task, open_ledger


@pytest.fixture(params=KINDS)
async def ledger(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[Ledger]:
    async with open_ledger(request.param, settings) as ledger:
        yield ledger


async def add(ledger: Ledger, task: Task, **options: Any) -> tuple[Task, int]:
    """The task that is kept, and how often that was announced."""
    announced: list[bool] = []
    kept = await ledger.add(task, lambda: announced.append(True), **options)
    return kept, len(announced)


async def claim(ledger: Ledger, number: int = 1, seconds: float = 1) -> Task:
    """A task that was added, begun at that time."""
    task = await ledger.claim(make_task(number).id, at(seconds), at(seconds + 30))
    assert task is not None
    return task


class TestAdd:
    async def test_read_back(self, ledger: Ledger) -> None:
        task = make_task(
            key="one", deadline_at=at(60), request_id="request", arguments='{"name": "ü\U0001f600"}'
        )
        assert await add(ledger, task) == (task, 1)
        assert await ledger.read(task.id) == task

    async def test_unknown(self, ledger: Ledger) -> None:
        assert await ledger.read(make_task().id) is None

    async def test_same_key(self, ledger: Ledger) -> None:
        await add(ledger, make_task(1, key="one"))
        kept, announced = await add(ledger, make_task(2, key="one"))
        assert (kept.id, announced) == (make_task(1).id, 0)
        assert await ledger.read(make_task(2).id) is None

    async def test_key_of_another_name(self, ledger: Ledger) -> None:
        await add(ledger, make_task(1, key="one"))
        kept, announced = await add(ledger, make_task(2, key="one", name="other"))
        assert (kept.id, announced) == (make_task(2).id, 1)

    @pytest.mark.parametrize("once", [False, True])
    async def test_key_of_what_failed(self, ledger: Ledger, once: bool) -> None:
        """It may be tried again, unless it was for once only."""
        await add(ledger, make_task(1, key="one"))
        await ledger.finish(await claim(ledger), State.FAILED, at(2), at(60))
        kept, announced = await add(ledger, make_task(2, key="one"), once=once)
        assert (kept.id == make_task(2).id, announced) == ((False, 0) if once else (True, 1))
        again, _ = await add(ledger, make_task(3, key="one"))
        assert again.id != make_task(1).id if once else again.id == make_task(2).id

    async def test_same_key_at_the_same_moment(self, ledger: Ledger) -> None:
        tasks = [make_task(number, key="one") for number in range(1, 6)]
        kept = await asyncio.gather(*(add(ledger, task) for task in tasks))
        assert len({task.id for task, _ in kept}) == 1
        assert sum(announced for _, announced in kept) == 1


class TestClaim:
    async def test_begins_an_attempt(self, ledger: Ledger) -> None:
        await add(ledger, make_task())
        task = await claim(ledger)
        assert (task.state, task.attempt, task.started_at) == (State.RUNNING, 1, at(1))
        assert task.look_at == at(31)
        assert await ledger.read(task.id) == task

    async def test_once(self, ledger: Ledger) -> None:
        task = make_task()
        await add(ledger, task)
        claims = [ledger.claim(task.id, at(1), at(31)) for _ in range(8)]
        assert sum(claimed is not None for claimed in await asyncio.gather(*claims)) == 1

    async def test_unknown(self, ledger: Ledger) -> None:
        assert await ledger.claim(make_task().id, at(1), at(31)) is None

    async def test_over(self, ledger: Ledger) -> None:
        await add(ledger, make_task())
        await ledger.finish(await claim(ledger), State.SUCCEEDED, at(2), at(60))
        assert await ledger.claim(make_task().id, at(3), at(33)) is None


class TestFinish:
    async def test_result(self, ledger: Ledger) -> None:
        await add(ledger, make_task())
        await ledger.finish(await claim(ledger), State.SUCCEEDED, at(2), at(60), result="[1]")
        task = await ledger.read(make_task().id)
        assert task is not None
        assert (task.state, task.finished_at, task.look_at) == (State.SUCCEEDED, at(2), at(60))
        assert (task.result, task.failures) == ("[1]", 0)

    async def test_failure(self, ledger: Ledger) -> None:
        await add(ledger, make_task())
        await ledger.finish(
            await claim(ledger), State.FAILED, at(2), at(60), reason="No.", error="KeyError"
        )
        [task] = await ledger.failed(10)
        assert (task.reason, task.error, task.failures) == ("No.", "KeyError", 1)

    async def test_postponed(self, ledger: Ledger) -> None:
        await add(ledger, make_task())
        await ledger.postpone(await claim(ledger), at(20), failed=True, error="not yet")
        task = await ledger.read(make_task().id)
        assert task is not None
        assert (task.state, task.due_at, task.look_at) == (State.QUEUED, at(20), at(20))
        assert (task.failures, task.error, task.started_at) == (1, "not yet", at(1))
        assert (await claim(ledger, seconds=21)).attempt == 2

    async def test_interrupted(self, ledger: Ledger) -> None:
        """It is no failure, and keeps the error of the one before."""
        await add(ledger, make_task())
        await ledger.postpone(await claim(ledger), at(2), failed=True, error="not yet")
        await ledger.postpone(await claim(ledger, seconds=3), at(4), failed=False)
        task = await ledger.read(make_task().id)
        assert task is not None
        assert (task.failures, task.error, task.attempt) == (1, "not yet", 2)


class TestFence:
    @pytest.fixture
    async def old(self, ledger: Ledger) -> Task:
        """An attempt that was thought dead; another one runs."""
        await add(ledger, make_task())
        old = await claim(ledger)
        await ledger.postpone(old, at(40), failed=True)
        await claim(ledger, seconds=41)
        return old

    async def test_save(self, ledger: Ledger, old: Task) -> None:
        with pytest.raises(Superseded):
            await ledger.save(old, "1", 1, 2)

    async def test_renew(self, ledger: Ledger, old: Task) -> None:
        with pytest.raises(Superseded):
            await ledger.renew(old, at(99))

    async def test_finish(self, ledger: Ledger, old: Task) -> None:
        with pytest.raises(Superseded):
            await ledger.finish(old, State.SUCCEEDED, at(50), at(99))

    async def test_postpone(self, ledger: Ledger, old: Task) -> None:
        with pytest.raises(Superseded):
            await ledger.postpone(old, at(50), failed=True)

    async def test_over(self, ledger: Ledger) -> None:
        await add(ledger, make_task())
        task = await claim(ledger)
        await ledger.finish(task, State.SUCCEEDED, at(2), at(60))
        with pytest.raises(Superseded):
            await ledger.finish(task, State.FAILED, at(3), at(60))


async def test_save_and_renew(ledger: Ledger) -> None:
    await add(ledger, make_task())
    task = await claim(ledger)
    await ledger.save(task, "[1]", 1, 3)
    assert await ledger.renew(task, at(99))
    saved = await ledger.read(task.id)
    assert saved is not None
    assert (saved.checkpoint, saved.done, saved.total, saved.look_at) == ("[1]", 1, 3, at(99))


class TestCancel:
    async def test_queued(self, ledger: Ledger) -> None:
        await add(ledger, make_task())
        task = await ledger.cancel(make_task().id, at(1), at(60))
        assert task is not None
        assert (task.state, task.finished_at, task.look_at) == (State.CANCELLED, at(1), at(60))

    async def test_running(self, ledger: Ledger) -> None:
        await add(ledger, make_task())
        running = await claim(ledger)
        task = await ledger.cancel(running.id, at(2), at(60))
        assert task is not None
        assert (task.state, task.cancelling) == (State.RUNNING, True)
        assert not await ledger.renew(running, at(99))

    async def test_over(self, ledger: Ledger) -> None:
        await add(ledger, make_task())
        await ledger.finish(await claim(ledger), State.SUCCEEDED, at(2), at(60))
        task = await ledger.cancel(make_task().id, at(3), at(60))
        assert task is not None
        assert task.state == State.SUCCEEDED

    async def test_unknown(self, ledger: Ledger) -> None:
        assert await ledger.cancel(make_task().id, at(1), at(60)) is None


class TestSweep:
    async def test_due(self, ledger: Ledger) -> None:
        """The oldest first, each once, and later each time."""

        def again_at(sends: int) -> datetime:
            return at(100 * (sends + 1))

        await add(ledger, make_task(1, look_at=at(5)))
        await add(ledger, make_task(2, look_at=at(4)))
        await add(ledger, make_task(3, look_at=at(7)))
        first, second = make_task(1).id, make_task(2).id
        assert await ledger.due(at(3), 10, again_at) == []
        assert await ledger.due(at(6), 10, again_at) == [second, first]
        assert await ledger.due(at(6), 10, again_at) == []
        assert await ledger.due(at(99), 1, again_at) == [make_task(3).id]
        assert sorted(await ledger.due(at(100), 10, again_at)) == sorted(
            [first, second, make_task(3).id]
        )
        assert await ledger.due(at(199), 10, again_at) == []

    async def test_due_to_one_of_many(self, ledger: Ledger) -> None:
        for number in range(20):
            await add(ledger, make_task(number))
        sweeps = [ledger.due(at(11), 10, lambda _: at(99)) for _ in range(4)]
        found = [task_id for ids in await asyncio.gather(*sweeps) for task_id in ids]
        assert len(found) == len(set(found))

    async def test_released(self, ledger: Ledger) -> None:
        await add(ledger, make_task())
        await ledger.release([make_task().id], at(1))
        assert await ledger.due(at(1), 10, lambda _: at(99)) == [make_task().id]

    async def test_lapsed(self, ledger: Ledger) -> None:
        await add(ledger, make_task(1))
        await add(ledger, make_task(2))
        running = await claim(ledger)
        assert await ledger.lapsed(at(30), 10) == []
        assert await ledger.lapsed(at(31), 10) == [running]

    async def test_forget(self, ledger: Ledger) -> None:
        """What is over and past its time, and nothing else; its key is free again."""
        await add(ledger, make_task(1, key="one"))
        await add(ledger, make_task(2))
        await ledger.finish(await claim(ledger, 1), State.SUCCEEDED, at(2), at(60))
        assert await ledger.forget(at(59), 10) == 0
        assert await ledger.forget(at(60), 10) == 1
        assert await ledger.read(make_task(1).id) is None
        assert await ledger.read(make_task(2).id) is not None
        kept, _ = await add(ledger, make_task(3, key="one"))
        assert kept.id == make_task(3).id


class TestDead:
    async def test_latest_first(self, ledger: Ledger) -> None:
        for number in (1, 2, 3):
            await add(ledger, make_task(number))
            await ledger.finish(await claim(ledger, number), State.FAILED, at(number), at(60))
        assert [task.id for task in await ledger.failed(2)] == [make_task(3).id, make_task(2).id]

    async def test_revival(self, ledger: Ledger) -> None:
        await add(ledger, make_task(key="one", deadline_at=at(5)))
        await ledger.finish(await claim(ledger), State.FAILED, at(2), at(60), reason="No.")
        assert await ledger.revive(make_task().id, at(50))
        assert not await ledger.revive(make_task().id, at(50))
        assert await ledger.due(at(50), 10, lambda _: at(99)) == [make_task().id]
        task = await claim(ledger, seconds=51)
        assert (task.attempt, task.failures, task.reason, task.deadline_at) == (2, 0, None, None)


async def test_backlog(ledger: Ledger) -> None:
    await add(ledger, make_task(1, due_at=at(5)))
    await add(ledger, make_task(2, due_at=at(3)))
    await add(ledger, make_task(3))
    await add(ledger, make_task(4, name="another"))
    await claim(ledger, 3)
    await ledger.finish(await claim(ledger, 4), State.SUCCEEDED, at(2), at(60))
    [backlog] = await ledger.backlog()
    assert (backlog.name, backlog.queued, backlog.running) == ("job", 2, 1)
    assert backlog.oldest_due_at == at(3)
