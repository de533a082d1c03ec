"""Without a table, tasks of a request begin when its response does."""

import asyncio

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.infra.tasks import Task
from app.infra.tasks.memory import HoldBackMiddleware
from tests import task_jobs
from tests.infra.tasks.doubles import Double, open_double
from tests.messages import exchange, http_scope


async def serve(double: Double, status: int) -> tuple[Task, list[str]]:
    """A task that a request submitted, and what waits in the queue when that has been answered."""
    submitted: list[Task] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        submitted.append(await double.tasks.submit(task_jobs.add, a=1))
        await asyncio.sleep(0.01)  # the relay has had its turn
        assert double.queue.waiting() == ()
        if not status:
            raise RuntimeError("the handler failed")
        await Response(status_code=status)(scope, receive, send)

    try:
        await exchange(HoldBackMiddleware(app), http_scope())
    except RuntimeError:
        assert not status
    await asyncio.sleep(0.01)
    return submitted[0], list(double.queue.waiting())


@pytest.mark.parametrize("status", [200, 202, 303])
async def test_success(status: int) -> None:
    async with open_double() as double:
        task, waiting = await serve(double, status)
        assert waiting == [task.id]


@pytest.mark.parametrize("status", [404, 503, 0])
async def test_failure(status: int) -> None:
    """Nothing of them is kept, nor counted."""
    async with open_double(queue_limit=1) as double:
        for _ in range(2):
            task, waiting = await serve(double, status)
            assert waiting == []
            assert await double.ledger.read(task.id) is None


async def test_outside_of_requests() -> None:
    """They begin at once."""
    async with open_double() as double:
        task = await double.tasks.submit(task_jobs.add, a=1)
        await asyncio.sleep(0.01)
        assert double.queue.waiting() == (task.id,)
