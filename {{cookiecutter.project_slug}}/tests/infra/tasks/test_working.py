"""Taking tasks from a queue in the process, and looking after those that nobody takes."""

import asyncio
from datetime import datetime, timedelta

import pytest

from app.errors import TimedOut, Unavailable
from app.infra.lifecycle import opened
from app.infra.tasks import Job, Run, State, Task
from app.infra.tasks.in_process import InProcess, InProcessSettings
from app.infra.tasks.memory import MemoryLedger
from app.infra.tasks.tasks import Tasks
from app.infra.tasks.working import sweep, sweep_until, working
from tests import task_jobs
from tests.infra.tasks.books import at
from tests.infra.tasks.doubles import Double, open_double
from tests.recorded import recorded
from tests.task_rooms import begun, over


class TestBounds:
    async def test_full(self) -> None:
        """One more is refused, and nothing of it is kept."""
        async with open_double(queue_limit=3) as double:
            for _ in range(3):
                await double.tasks.submit(task_jobs.wait)
            with pytest.raises(Unavailable) as refused:
                await double.tasks.submit(task_jobs.wait)
            assert (refused.value.headers or {})["Retry-After"] == "5"
            [backlog] = await double.tasks.backlog()
            assert backlog.queued == 3

    async def test_full_beside_a_ledger_without_bounds(self) -> None:
        """The queue refuses by itself, but no task that waits in it already."""
        queue = InProcess(InProcessSettings(queue_limit=2))
        await queue.send(["first", "second"])
        with pytest.raises(Unavailable, match="Too many tasks"):
            await queue.check()
        with pytest.raises(Unavailable, match="Too many tasks"):
            await queue.send(["third"])
        await queue.send(["first"])
        assert (queue.room(), queue.waiting()) == (0, ("first", "second"))

    async def test_concurrency(self) -> None:
        running, most = 0, 0

        async def count(_run: Run) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

        async with open_double(Job(count), concurrency=3) as double, working(double.tasks, {}):
            submitted = [await double.tasks.submit(count) for _ in range(12)]
            for task in submitted:
                await over(double.tasks, task)
        assert most == 3

    async def test_memory_of_what_is_over(self) -> None:
        """The oldest are forgotten, so that the ledger does not grow for ever."""
        async with open_double() as double:
            for number in range(10_003):
                task = await double.tasks.submit(task_jobs.add, a=number)
                await double.tasks.cancel(task.id)
                if not number:
                    first = task
            assert await double.ledger.read(first.id) is None
            assert await double.ledger.read(task.id) is not None
            assert len(double.ledger._tasks) == 10_000


class TestEnd:
    async def test_what_runs_may_finish(self) -> None:
        async with open_double(stop_timeout_seconds=60) as double:
            async with working(double.tasks, {}):
                task = await double.tasks.submit(task_jobs.wait, seconds=0.2)
                await begun(double.tasks, task)
            assert (await double.tasks.get(task.id)).state == State.SUCCEEDED

    async def test_what_takes_longer_begins_again(self) -> None:
        with recorded() as log:
            async with open_double(stop_timeout_seconds=0.1) as double:
                async with working(double.tasks, {}):
                    task = await double.tasks.submit(task_jobs.wait, seconds=60)
                    await begun(double.tasks, task)
                assert (await double.tasks.get(task.id)).state == State.QUEUED
        [line] = log.of("job interrupted")
        assert line["task_id"] == task.id

    async def test_what_waits_is_named(self) -> None:
        with recorded() as log:
            async with (
                open_double(stop_timeout_seconds=0.1, concurrency=1) as double,
                working(double.tasks, {}),
            ):
                first = await double.tasks.submit(task_jobs.wait, seconds=60)
                await begun(double.tasks, first)
                second = await double.tasks.submit(task_jobs.wait, seconds=60)
        [line] = log.of("tasks were not begun")
        assert line["task_ids"] == [second.id]


class _Away(MemoryLedger):
    """A ledger that may be out of reach, and counts the sweeps that it has answered."""

    away = True
    sweeps = 0

    async def forget(self, now: datetime, limit: int) -> int:
        if self.away:
            raise Unavailable("It is away.")
        self.sweeps += 1
        return await super().forget(now, limit)


class TestOutage:
    @pytest.mark.parametrize(
        ("lease_seconds", "sweeps", "state"), [(60, 3, State.RUNNING), (0.5, 12, State.QUEUED)]
    )
    async def test_leaves_time_to_renew(
        self, lease_seconds: float, sweeps: int, state: State
    ) -> None:
        """A lease that nobody could renew is given up when one more has passed."""
        double = Double(lease_seconds=lease_seconds, sweep_seconds=0.05)
        double.ledger = ledger = _Away(limit=10)
        double.tasks = Tasks(ledger, double.queue, task_jobs.JOBS, double.settings, double.clock)
        stopping = asyncio.Event()
        with recorded() as log:
            sweeping = asyncio.create_task(sweep_until(stopping, double.tasks, double.another()))
            while not log.of("tasks were not looked after"):  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.001)
            task = await double.tasks.submit(task_jobs.add, a=1)
            assert await ledger.claim(task.id, at(0), at(1)) is not None
            ledger.away = False
            while ledger.sweeps < sweeps:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.001)
            stopping.set()
            await sweeping
        assert (await double.tasks.get(task.id)).state == state


class _Faulty(MemoryLedger):
    """A ledger that fails the first tries to begin a task."""

    def __init__(self, error: Exception, times: int) -> None:
        super().__init__(limit=10)
        self._errors = [error] * times

    async def claim(self, task_id: str, now: datetime, look_at: datetime) -> Task | None:
        if self._errors:
            raise self._errors.pop()
        return await super().claim(task_id, now, look_at)


class TestFault:
    @pytest.mark.parametrize(
        ("error", "left"),
        [
            (Unavailable("It is away."), 0),
            (TimedOut("It took too long."), 0),
            (RuntimeError("a mistake"), 4),
        ],
    )
    async def test_those_who_perform_go_on(self, error: Exception, left: int) -> None:
        """They ask again when it did not answer, and leave the task otherwise."""
        double = Double(concurrency=2)
        tasks = Tasks(_Faulty(error, 4), double.queue, task_jobs.JOBS, double.settings)
        with recorded() as log:
            async with opened(tasks), working(tasks, {}):
                for _ in range(4):
                    await tasks.submit(task_jobs.add, a=1)
                last = await tasks.submit(task_jobs.add, a=1)
                assert (await over(tasks, last)).state == State.SUCCEEDED
        assert len(log.of("task was left")) == left


class TestSweep:
    async def test_tick_once_however_many_look(self) -> None:
        """The same tick is submitted once, and again after its time."""
        async with open_double(task_jobs.PERIODIC) as double:
            for _ in range(3):
                await sweep(double.tasks, double.performer)
                double.tasks._ticks.clear()  # as another process would look
            [backlog] = await double.tasks.backlog()
            assert backlog.queued == 1
            double.clock.now = at(1)
            await sweep(double.tasks, double.performer)
            [backlog] = await double.tasks.backlog()
            assert backlog.queued == 2

    async def test_failed_tick_is_not_repeated(self) -> None:
        async def fail(_run: Run) -> None:
            raise RuntimeError

        async with open_double(Job(fail, every=timedelta(seconds=10))) as double:
            await sweep(double.tasks, double.performer)
            [task] = double.ledger._tasks.values()
            await double.performer.perform(task.id)
            double.tasks._ticks.clear()
            await sweep(double.tasks, double.performer)
            assert len(double.ledger._tasks) == 1

    async def test_delayed_task_is_sent_when_it_is_due(self) -> None:
        async with open_double() as double:
            task = await double.tasks.submit(task_jobs.add, a=1, delay=timedelta(seconds=5))
            await double.tasks.relay.send_due()
            assert double.queue.waiting() == ()
            double.clock.now = at(5)
            await double.tasks.relay.send_due()
            assert double.queue.waiting() == (task.id,)

    async def test_what_nobody_sent(self) -> None:
        """The process died between the commit and the sending."""
        async with open_double() as double:
            task = await double.tasks.submit(task_jobs.add, a=1)
            double.queue._waiting.clear()
            double.queue._known.clear()
            double.tasks.relay._news.clear()
            double.clock.now = at(1)
            await double.tasks.relay.send_due()
            assert double.queue.waiting() == (task.id,)

    async def test_twice_in_the_queue(self) -> None:
        async with open_double() as double:
            await double.queue.send(["a", "a", "b"])
            assert double.queue.waiting() == ("a", "b")
