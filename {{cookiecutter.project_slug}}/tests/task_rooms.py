"""Background work to test with: the service's own ledger and queue, with jobs of the tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app import bootstrap
from app.infra.lifecycle import opened
from app.infra.monitoring import listening
from app.infra.tasks import Job, Task, Tasks
from app.infra.tasks.working import working
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


def of_tasks(settings: Settings) -> Any:
    """Settings of background work, whatever its queue is."""
    return settings.tasks


TABLE = find_spec("tests.task_table") is not None
"""Whether tasks are kept in a table."""

ALL_JOBS = [*JOBS, import_module("tests.task_table").EFFECT] if TABLE else JOBS
"""Those with an effect in a table are where there is one."""

WORKERS = find_spec("tests.task_worker") is not None
"""Whether tasks are performed by processes of their own."""


# Nobody listens where nobody was chosen.
_make_recorders: Any = getattr(bootstrap, "make_recorders", lambda _settings: ())


@asynccontextmanager
async def open_tasks(
    settings: Settings, jobs: Sequence[Job] = ALL_JOBS, *, works: bool = False
) -> AsyncIterator[dict[str, Any]]:
    """What the jobs find as `rooms`, open; with `works`, this process performs them if it can."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(listening(*_make_recorders(settings)))
        rooms = await stack.enter_async_context(_open_rooms(settings, jobs))
        if works and not WORKERS:
            await stack.enter_async_context(working(rooms["tasks"], rooms))
        yield rooms


@asynccontextmanager
async def _in_memory(settings: Settings, jobs: Sequence[Job]) -> AsyncIterator[dict[str, Any]]:
    make: Any = bootstrap
    tasks: Tasks = make.make_tasks(settings, jobs)
    async with opened(tasks):
        yield {"tasks": tasks}


# Tasks are in a table where there are any.
_open_rooms: Any = import_module("tests.task_table").open_rooms if TABLE else _in_memory


def performing(settings: Settings, folder: Path) -> AbstractContextManager[Any]:
    """A worker process, where this process would not perform tasks."""
    if not WORKERS:
        return nullcontext()
    started: AbstractContextManager[Any] = import_module("tests.task_worker").worker(
        folder, settings
    )
    return started


async def over(tasks: Tasks, task: Task) -> Task:
    """The task once it is over."""
    return await until(tasks, task, lambda current: current.state.over)


async def begun(tasks: Tasks, task: Task) -> Task:
    """The task once somebody has begun it."""
    return await until(tasks, task, lambda current: current.started_at is not None)


async def until(tasks: Tasks, task: Task, reached: Callable[[Task], bool]) -> Task:
    """The task once it is as it should be."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            current = await tasks.get(task.id)
            if reached(current):
                return current
            await asyncio.sleep(0.02)
