"""One attempt at a task."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from app.errors import Unavailable
from app.infra import logs
from app.infra.monitoring import listening
from app.infra.tasks import Job, Run, State, Superseded
from app.infra.tasks.working import sweep
from tests import task_jobs
from tests.figures import Figures
from tests.infra.tasks.books import at, make_task
from tests.infra.tasks.doubles import Double
from tests.task_rooms import begun, until


async def perform(double: Double, task_id: str) -> State:
    await double.performer.perform(task_id)
    return (await double.tasks.get(task_id)).state


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.fixture
async def figures() -> AsyncIterator[Figures]:
    """What is recorded meanwhile."""
    figures = Figures()
    async with listening(figures):
        yield figures


class TestArguments:
    async def test_unknown_job(self, double: Double) -> None:
        """A message of another release: it is kept, and can run again after the next deploy."""
        await double.ledger.add(make_task(name="orders.gone"), lambda: None)
        assert await perform(double, make_task().id) == State.FAILED
        task = await double.tasks.get(make_task().id)
        assert task.error == "There is no job 'orders.gone' in this release."
        assert task.reason == "The job failed."

    @pytest.mark.parametrize("arguments", ["{}", '{"a": "many"}', '{"a": 1, "c": 2}', "[", '"a"'])
    async def test_of_another_release(self, double: Double, arguments: str) -> None:
        task = make_task(name="tests.task_jobs.add", arguments=arguments)
        await double.ledger.add(task, lambda: None)
        assert await perform(double, task.id) == State.FAILED

    async def test_nobody_knows_it(self, double: Double) -> None:
        await double.performer.perform(make_task().id)


class TestOnce:
    async def test_message_twice(self, double: Double, figures: Figures) -> None:
        task = await double.tasks.submit(task_jobs.add, a=1)
        await asyncio.gather(*(double.performer.perform(task.id) for _ in range(5)))
        assert (await double.tasks.get(task.id)).attempt == 1
        assert figures.total("task_attempts_started_total", task.name) == 1

    async def test_superseded(self, double: Double) -> None:
        """Whoever was thought dead stops at its next step, and changes nothing."""
        released = asyncio.Event()
        went_on = []

        async def slow(run: Run) -> None:
            if run.attempt == 1:
                await released.wait()
                await run.save("late", done=1)
                went_on.append(run.attempt)

        double = Double([Job(slow)])
        task = await double.tasks.submit(slow)
        first = asyncio.create_task(double.performer.perform(task.id))
        current = await begun(double.tasks, task)
        await double.performer.give_up(current)
        await double.another().perform(task.id)
        released.set()
        await first
        task = await double.tasks.get(task.id)
        assert (task.state, task.attempt, task.checkpoint) == (State.SUCCEEDED, 2, None)
        assert not went_on

    async def test_superseded_is_cut_short(self) -> None:
        """Also without a step: the next renewal ends it."""

        async def forever(run: Run) -> None:
            if run.attempt == 1:
                await asyncio.Event().wait()

        double = Double([Job(forever)], lease_seconds=0.5)
        task = await double.tasks.submit(forever)
        first = asyncio.create_task(double.performer.perform(task.id))
        current = await begun(double.tasks, task)
        await double.performer.give_up(current)
        await double.another().perform(task.id)
        await asyncio.wait_for(first, 60)
        assert (await double.tasks.get(task.id)).state == State.SUCCEEDED


class TestLease:
    async def test_lapsed_in_its_own_hands(self, double: Double) -> None:
        """Who performs a task does not take it for lost; who does not see that, does."""
        task = await double.tasks.submit(task_jobs.wait, seconds=60)
        work = asyncio.create_task(double.performer.perform(task.id))
        await begun(double.tasks, task)
        await sweep(double.tasks, double.performer)
        assert (await double.tasks.get(task.id)).state == State.RUNNING
        await sweep(double.tasks, double.another())
        assert (await double.tasks.get(task.id)).state == State.QUEUED
        double.performer.interrupt()
        await work

    async def test_cancelled_and_then_interrupted(self, double: Double) -> None:
        """It does not begin again."""
        task = await double.tasks.submit(task_jobs.wait, seconds=60)
        work = asyncio.create_task(double.performer.perform(task.id))
        await begun(double.tasks, task)
        await double.tasks.cancel(task.id)
        double.performer.interrupt()
        await work
        assert await perform(double, task.id) == State.CANCELLED

    async def test_is_renewed(self) -> None:
        double = Double(lease_seconds=0.5)
        task = await double.tasks.submit(task_jobs.wait, seconds=60)
        work = asyncio.create_task(double.performer.perform(task.id))
        await begun(double.tasks, task)
        double.clock.now = at(10)
        await until(double.tasks, task, lambda current: current.look_at > at(10))
        assert await double.ledger.lapsed(at(10), 10) == []
        double.performer.interrupt()
        await work

    async def test_pause(self, double: Double) -> None:
        """The next attempt is not due at once."""
        task = await double.tasks.submit(task_jobs.recover, failures=1)
        assert await perform(double, task.id) == State.QUEUED
        assert at(0) < (await double.tasks.get(task.id)).due_at <= at(0.05)

    async def test_worker_died(self, double: Double) -> None:
        """It begins again, until its attempts are used up."""
        task = await double.tasks.submit(task_jobs.recover, failures=0)
        for attempt in (1, 2, 3):
            claimed = await double.ledger.claim(task.id, at(0), at(1))
            assert claimed is not None
            assert claimed.attempt == attempt
            await double.performer.give_up(claimed)
        task = await double.tasks.get(task.id)
        assert (task.state, task.reason) == (State.FAILED, "Its worker died.")


class TestLimits:
    async def test_time_limit(self) -> None:
        double = Double([task_jobs.LIMITED])
        task = await double.tasks.submit(task_jobs.wait)
        assert await perform(double, task.id) == State.FAILED
        assert (await double.tasks.get(task.id)).reason == "It took too long."

    async def test_deadline_passed(self, double: Double) -> None:
        """It is not even begun."""
        task = await double.tasks.submit(task_jobs.wait, deadline=timedelta(seconds=5))
        double.clock.now = at(6)
        assert await perform(double, task.id) == State.FAILED
        assert task.id not in task_jobs.ended

    async def test_large_checkpoint(self) -> None:
        async def swell(run: Run) -> None:
            await run.save("x" * 60_000)

        double = Double([Job(swell)])
        task = await double.tasks.submit(swell)
        assert await perform(double, task.id) == State.FAILED


class TestInterruption:
    async def test_begins_again(self, double: Double) -> None:
        task = await double.tasks.submit(task_jobs.wait, seconds=60)
        work = asyncio.create_task(double.performer.perform(task.id))
        await begun(double.tasks, task)
        await asyncio.sleep(0)
        double.performer.interrupt()
        await work
        task = await double.tasks.get(task.id)
        assert (task.state, task.failures) == (State.QUEUED, 0)
        assert await double.ledger.due(double.clock(), 10, lambda _: at(99)) == [task.id]

    async def test_ledger_is_away_at_the_end(self, double: Double) -> None:
        """Nobody waits for it then: another process takes the message."""

        class Away(type(double.ledger)):  # type: ignore[misc]
            async def claim(self, *_: object) -> None:
                raise Unavailable("away")

        double.ledger.__class__ = Away
        double.performer.interrupt()
        with pytest.raises(Unavailable):
            await double.performer.perform(make_task().id)


class TestContext:
    async def test_request_id(self) -> None:
        seen = []

        async def look(run: Run) -> None:
            seen.append((logs.request_id.get(), run.task_id))

        double = Double([Job(look)])
        token = logs.request_id.set("a request")
        asked = await double.tasks.submit(look)
        logs.request_id.reset(token)
        alone = await double.tasks.submit(look)
        for task in (asked, alone):
            await double.performer.perform(task.id)
        assert seen == [("a request", asked.id), (alone.id, alone.id)]
        assert logs.request_id.get() is None

    async def test_superseded_within_a_job_is_no_failure(self, figures: Figures) -> None:
        async def lose(run: Run) -> None:
            raise Superseded(run.task_id)

        double = Double([Job(lose)])
        task = await double.tasks.submit(lose)
        assert await perform(double, task.id) == State.RUNNING
        assert not figures.series("task_attempts_total")


class TestFigures:
    async def test_counts(self, double: Double, figures: Figures) -> None:
        """Attempts that began, how they ended, how long they took, and what was given up."""
        submitted = [
            await double.tasks.submit(task_jobs.add, a=1),
            await double.tasks.submit(task_jobs.crash),
            await double.tasks.submit(task_jobs.recover, failures=1),
        ]
        for task in submitted:
            await double.performer.perform(task.id)
        await double.performer.perform(submitted[2].id)
        names = add, crash, recover = [task.name for task in submitted]
        started = [figures.total("task_attempts_started_total", name) for name in names]
        assert started == [1, 1, 2]
        assert figures.series("task_attempts_total") == {
            (add, "succeeded"),
            (crash, "failed"),
            (recover, "failed"),
            (recover, "succeeded"),
        }
        assert [figures.total("task_retries_total", name) for name in names] == [0, 0, 1]
        assert [figures.total("tasks_dead_total", name) for name in names] == [0, 1, 0]
        assert [figures.times("task_duration_seconds", name) for name in names] == [1, 1, 2]
        assert figures.total("task_duration_seconds", add) > 0

    async def test_before_anything(self, double: Double, figures: Figures) -> None:
        """Each registered job is told as 0, so that its first failure is an increase."""
        for name in double.tasks.jobs:
            assert figures.last("task_attempts_total", name, "failed") == 0
            assert figures.last("tasks_dead_total", name) == 0

    async def test_unreadable_message(self, double: Double, figures: Figures) -> None:
        await double.performer.reject(b"\xff\x00{", "It cannot be read.")
        [dead] = await double.ledger.failed(10)
        assert (dead.state, dead.error) == (State.FAILED, "It cannot be read.")
        assert figures.total("tasks_dead_total", dead.name) == 1
