"""What every queue does with a task."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from app.errors import NotFound
from app.infra import logs
from app.infra.tasks import State, Tasks
from tests import task_jobs
from tests.task_rooms import begun, over


class TestSubmit:
    async def test_result(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.add, a=1, b=2))
        assert (task.state, task.result, task.attempt) == (State.SUCCEEDED, "3", 1)
        assert task.started_at is not None
        assert task.finished_at is not None
        assert task.created_at <= task.started_at <= task.finished_at

    async def test_default(self, tasks: Tasks) -> None:
        assert (await over(tasks, await tasks.submit(task_jobs.add, a=1))).result == "2"

    async def test_delay(self, tasks: Tasks) -> None:
        delay = timedelta(seconds=0.5)
        task = await over(tasks, await tasks.submit(task_jobs.add, a=1, delay=delay))
        assert task.started_at is not None
        assert task.started_at >= task.created_at + delay

    async def test_unfit_arguments(self, tasks: Tasks) -> None:
        with pytest.raises(ValidationError):
            await tasks.submit(task_jobs.add, a="many")

    async def test_large_arguments(self, tasks: Tasks) -> None:
        with pytest.raises(ValueError, match="keep them in a table"):
            await tasks.submit(task_jobs.refuse, detail="x" * 60_001)

    async def test_unknown_job(self, tasks: Tasks) -> None:
        with pytest.raises(TypeError, match=r"task_jobs.tick is no job yet"):
            await tasks.submit(task_jobs.tick)

    async def test_many(self, tasks: Tasks) -> None:
        submitted = [await tasks.submit(task_jobs.add, a=number) for number in range(50)]
        results = [(await over(tasks, task)).result for task in submitted]
        assert results == [str(number + 1) for number in range(50)]

    async def test_what_a_job_is_told(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.look))
        assert f'"task_id":"{task.id}"' in (task.result or "")

    async def test_request_is_kept(self, tasks: Tasks) -> None:
        token = logs.request_id.set("a request")
        try:
            task = await tasks.submit(task_jobs.add, a=1)
        finally:
            logs.request_id.reset(token)
        assert (await tasks.get(task.id)).request_id == "a request"


class TestKeys:
    async def test_pending(self, tasks: Tasks) -> None:
        first = await tasks.submit(task_jobs.wait, key="pending")
        second = await tasks.submit(task_jobs.wait, key="pending")
        assert first.id == second.id

    async def test_finished(self, tasks: Tasks) -> None:
        first = await over(tasks, await tasks.submit(task_jobs.add, a=1, key="finished"))
        second = await tasks.submit(task_jobs.add, a=5, key="finished")
        assert (second.id, second.result) == (first.id, "2")

    async def test_failed(self, tasks: Tasks) -> None:
        first = await over(tasks, await tasks.submit(task_jobs.crash, key="failed"))
        second = await tasks.submit(task_jobs.crash, key="failed")
        assert first.id != second.id

    async def test_of_another_job(self, tasks: Tasks) -> None:
        first = await tasks.submit(task_jobs.add, a=1, key="of_another_job")
        second = await tasks.submit(task_jobs.look, key="of_another_job")
        assert first.id != second.id


class TestFailure:
    async def test_clean_reason(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.refuse, detail="No such file."))
        assert (task.state, task.reason, task.attempt) == (State.FAILED, "No such file.", 1)

    async def test_crash_tells_nothing(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.crash))
        assert (task.state, task.reason) == (State.FAILED, "The job failed.")
        assert task.error == "RuntimeError: the password is 1234"

    async def test_declared_error_is_retried(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.recover, failures=2))
        assert (task.state, task.result, task.failures) == (State.SUCCEEDED, "3", 2)

    async def test_last_attempt(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.recover, failures=3))
        assert (task.state, task.reason, task.attempt) == (State.FAILED, "not yet", 3)

    async def test_large_result(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.swell, size=60_000))
        assert task.state == State.FAILED

    async def test_deadline(self, tasks: Tasks) -> None:
        deadline = timedelta(seconds=0.2)
        task = await over(tasks, await tasks.submit(task_jobs.wait, deadline=deadline))
        assert (task.state, task.reason) == (State.FAILED, "It took too long.")

    async def test_revival(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.recover, failures=3))
        assert task.id in {dead.id for dead in await tasks.ledger.failed(10)}
        assert await tasks.revive(task.id)
        task = await over(tasks, task)
        assert (task.state, task.result) == (State.SUCCEEDED, "4")


class TestProgress:
    async def test_steps(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.climb, steps=3))
        assert (task.result, task.done, task.total) == ("[0,1,2]", 3, 3)

    async def test_next_attempt_goes_on(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.climb, steps=4, stop_at=2))
        assert (task.result, task.attempt) == ("[0,1,2,3]", 2)


class TestCancel:
    async def test_waiting(self, tasks: Tasks) -> None:
        task = await tasks.submit(task_jobs.add, a=1, delay=timedelta(hours=1))
        assert (await tasks.cancel(task.id)).state == State.CANCELLED

    async def test_running(self, tasks: Tasks) -> None:
        task = await begun(tasks, await tasks.submit(task_jobs.wait))
        assert (await tasks.cancel(task.id)).state == State.RUNNING
        assert (await over(tasks, task)).state == State.CANCELLED

    async def test_over(self, tasks: Tasks) -> None:
        task = await over(tasks, await tasks.submit(task_jobs.add, a=1))
        assert (await tasks.cancel(task.id)).state == State.SUCCEEDED

    async def test_unknown(self, tasks: Tasks) -> None:
        with pytest.raises(NotFound):
            await tasks.cancel("0" * 32)


async def test_unknown_task(tasks: Tasks) -> None:
    with pytest.raises(NotFound):
        await tasks.get("0" * 32)
