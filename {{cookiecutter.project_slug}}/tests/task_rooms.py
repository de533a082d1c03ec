"""Background work to test with: the service's own ledger and queue, with jobs of the tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from app import bootstrap
from app.infra.lifecycle import opened
from app.infra.tasks import Job, Task, Tasks
from app.settings import Settings
from tests.task_jobs import JOBS

PATIENCE_SECONDS = 60
# Short, so that what happens after a while happens soon; the machine may be busy all the same.
QUICK = {
    "lease_seconds": 3.0,
    "sweep_seconds": 0.1,
    "resend_seconds": 1.0,
    "stop_timeout_seconds": 1.0,
}


def with_tasks(settings: Settings, **changes: Any) -> Settings:
    """`settings` with other settings of background work."""
    checked = type(settings.tasks)(**(settings.tasks.model_dump() | QUICK | changes))
    return settings.model_copy(update={"tasks": checked})


@asynccontextmanager
async def open_tasks(
    settings: Settings, jobs: Sequence[Job] = JOBS
) -> AsyncIterator[dict[str, Any]]:
    """What the jobs find as `rooms`, open."""
    make: Any = bootstrap
    if hasattr(bootstrap, "make_database"):
        database = make.make_database(settings)
        tasks = make.make_tasks(settings, database, jobs)
        async with opened(database, tasks):
            yield {"tasks": tasks, "database": database}
    else:
        tasks = make.make_tasks(settings, jobs)
        async with opened(tasks):
            yield {"tasks": tasks}


async def over(tasks: Tasks, task: Task) -> Task:
    """The task once it is over."""
    return await _until(tasks, task, lambda current: current.state.over)


async def begun(tasks: Tasks, task: Task) -> Task:
    """The task once somebody has begun it."""
    return await _until(tasks, task, lambda current: current.started_at is not None)


async def _until(tasks: Tasks, task: Task, reached: Callable[[Task], bool]) -> Task:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            current = await tasks.get(task.id)
            if reached(current):
                return current
            await asyncio.sleep(0.02)
