"""What has become of a task, over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from app.errors import ServiceError
from app.infra.http.drain import Drain
from app.infra.tasks.ledger import ID, State, Task
from app.infra.tasks.tasks import Tasks

logger = structlog.get_logger()

router = APIRouter(prefix="/tasks", tags=["tasks"])

_LOOK_SECONDS = 0.5


class Progress(BaseModel):
    """How far a task has come: `done` of `total`, which is null while it is not known."""

    done: int
    total: int | None = None


class TaskStatus(BaseModel):
    """A task as its submitter sees it."""

    id: str
    name: str
    state: State
    attempt: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: Progress
    result: Any = None
    """What the job returned, once it has succeeded."""
    reason: str | None = None
    """Why it failed."""


async def _tasks(request: Request) -> Tasks:
    tasks: Tasks = request.state.tasks
    return tasks


TasksDependency = Annotated[Tasks, Depends(_tasks)]
TaskId = Annotated[str, Path(pattern=f"^{ID.pattern}$")]


async def _task(tasks: TasksDependency, task_id: TaskId) -> Task:
    return await tasks.get(task_id)


@router.get("/{task_id}")
async def read_task(task: Annotated[Task, Depends(_task)], response: Response) -> TaskStatus:
    """What has become of a task; 404 when there is none, or it was forgotten."""
    response.headers["Cache-Control"] = "no-store"
    return status_of(task)


@router.delete("/{task_id}", status_code=202)
async def cancel_task(tasks: TasksDependency, task_id: TaskId) -> TaskStatus:
    """Cancel a task: at once while it waits, and soon when it runs."""
    return status_of(await tasks.cancel(task_id))


@router.get("/{task_id}/events", response_class=EventSourceResponse)
async def follow_task(
    tasks: TasksDependency, task: Annotated[Task, Depends(_task)], request: Request
) -> AsyncIterator[ServerSentEvent]:
    """The task as a stream of events, one for each change, until it is over."""
    drain: Drain = request.state.drain
    told: TaskStatus | None = None
    while True:
        status = status_of(task)
        if status != told:
            yield ServerSentEvent(event="status", data=status)
            told = status
        if task.state.over or drain.begun:
            return
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            task = await tasks.get(task.id)
        except ServiceError as error:
            # Forgotten, or out of reach. The answer has begun: its client may ask again.
            logger.warning("task is followed no more", followed=task.id, cause=error.detail)
            return


def status_of(task: Task) -> TaskStatus:
    """What is told of `task`."""
    return TaskStatus(
        id=task.id,
        name=task.name,
        state=task.state,
        attempt=task.attempt,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        progress=Progress(done=task.done, total=task.total),
        result=None if task.result is None else json.loads(task.result),
        reason=task.reason,
    )
