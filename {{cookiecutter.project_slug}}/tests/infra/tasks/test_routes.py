"""What has become of a task, over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from httpx2 import AsyncClient

from app.infra.lifecycle import opened
from app.infra.tasks import Tasks
from app.infra.tasks.memory import MemoryLedger
from app.infra.tasks.working import working
from app.main import create_app
from app.settings import Settings
from tests import task_jobs
from tests.infra.tasks.doubles import Double
from tests.recorded import recorded
from tests.serving import running
from tests.task_rooms import begun, over


@pytest.fixture
def tasks() -> Tasks:
    return Double().tasks


@pytest.fixture
async def client(tasks: Tasks) -> AsyncIterator[AsyncClient]:
    """A client of a service whose tasks are in memory, and performed."""

    @asynccontextmanager
    async def open_rooms(_settings: Settings) -> AsyncIterator[dict[str, Any]]:
        async with opened(tasks), working(tasks, {}):
            yield {"tasks": tasks}

    async with running(create_app(Settings(), open_rooms=open_rooms)) as client:
        yield client


async def test_queued(tasks: Tasks, client: AsyncClient) -> None:
    task = await tasks.submit(task_jobs.add, a=1, delay=timedelta(hours=1))
    answer = await client.get(f"/v1/tasks/{task.id}")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    told = answer.json()
    assert (told["id"], told["state"], told["attempt"]) == (task.id, "queued", 0)
    assert told["progress"] == {"done": 0, "total": None}


async def test_succeeded(tasks: Tasks, client: AsyncClient) -> None:
    task = await over(tasks, await tasks.submit(task_jobs.climb, steps=2))
    told = (await client.get(f"/v1/tasks/{task.id}")).json()
    assert (told["state"], told["result"]) == ("succeeded", [0, 1])
    assert told["progress"] == {"done": 2, "total": 2}


async def test_failed(tasks: Tasks, client: AsyncClient) -> None:
    """For a reason that may be told; the other stays in the log and the ledger."""
    with recorded():
        task = await over(tasks, await tasks.submit(task_jobs.crash))
    answer = await client.get(f"/v1/tasks/{task.id}")
    assert (answer.json()["state"], answer.json()["reason"]) == ("failed", "The job failed.")
    assert "1234" not in answer.text


@pytest.mark.parametrize("path", ["", "/events"])
@pytest.mark.parametrize(("task_id", "status"), [("0" * 32, 404), ("none", 422), ("0" * 31, 422)])
async def test_unknown(client: AsyncClient, path: str, task_id: str, status: int) -> None:
    answer = await client.get(f"/v1/tasks/{task_id}{path}")
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_cancel(tasks: Tasks, client: AsyncClient) -> None:
    task = await tasks.submit(task_jobs.add, a=1, delay=timedelta(hours=1))
    answer = await client.delete(f"/v1/tasks/{task.id}")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert (await client.delete(f"/v1/tasks/{'0' * 32}")).status_code == 404


async def test_events(tasks: Tasks, client: AsyncClient) -> None:
    """One for each change, the last of which says how it ended."""
    task = await tasks.submit(task_jobs.climb, steps=3)
    answer = await client.get(f"/v1/tasks/{task.id}/events")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    blocks = [block.splitlines() for block in answer.text.strip().split("\n\n")]
    events = [json.loads(line[6:]) for block in blocks for line in block if line[:6] == "data: "]
    assert all("event: status" in block for block in blocks)
    assert (events[-1]["state"], events[-1]["result"]) == ("succeeded", [0, 1, 2])
    assert all(one != other for one, other in pairwise(events))


async def test_events_of_what_is_forgotten(tasks: Tasks, client: AsyncClient) -> None:
    """Or whose ledger is away: the stream ends, with a line in the log and no traceback."""
    task = await tasks.submit(task_jobs.wait, seconds=60)
    with recorded() as log:
        async with asyncio.TaskGroup() as group:
            following = group.create_task(client.get(f"/v1/tasks/{task.id}/events"))
            await begun(tasks, task)
            assert isinstance(tasks.ledger, MemoryLedger)
            del tasks.ledger._tasks[task.id]
        assert following.result().status_code == 200
        [line] = log.of("task is followed no more")
        assert line["followed"] == task.id
        assert not log.of("request failed")
