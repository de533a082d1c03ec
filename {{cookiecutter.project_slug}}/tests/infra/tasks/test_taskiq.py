"""What is Taskiq's own: messages of strangers."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from taskiq import BrokerMessage

from app.infra.tasks import State, Tasks
from app.infra.tasks.working import working
from app.settings import Settings
from tests import task_jobs
from tests.task_rooms import open_tasks, over, with_tasks

MESSAGES = {
    "no message": b"\xff\x00{",
    "no message of Taskiq": b'{"a": 1}',
    "unknown": b'{"task_id": "1", "task_name": "x", "labels": {}, "args": [], "kwargs": {}}',
    "number": b'{"task_id": "1", "task_name": "perform", "labels": {}, "args": [%b], "kwargs": {}}'
    % (b"1" * 32),
    "more": b'{"task_id": "1", "task_name": "perform", "labels": {}, "args": ["%b"],'
    b' "kwargs": {"x": 1}}' % (b"a" * 32),
    "no id": b'{"task_id": "1", "task_name": "perform", "labels": {}, "args": [7], "kwargs": {}}',
}


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[Tasks]:
    """Tasks that are performed by this process."""
    async with open_tasks(with_tasks(settings)) as rooms, working(rooms["tasks"], rooms):
        yield rooms["tasks"]


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
async def test_message_of_a_stranger(tasks: Tasks, message: bytes) -> None:
    """It is kept among the dead, and the worker goes on."""
    transport: Any = tasks.transport
    await transport._broker.kick(
        BrokerMessage(task_id="1", task_name="x", message=message, labels={})
    )
    task = await over(tasks, await tasks.submit(task_jobs.add, a=1))
    assert task.state == State.SUCCEEDED
    [dead] = await tasks.ledger.failed(10)
    assert (dead.name, dead.attempt) == ("(unreadable)", 0)
    assert dead.error


async def test_labels_of_a_stranger(tasks: Tasks) -> None:
    """Nothing of Taskiq's acts upon them."""
    task = await tasks.submit(task_jobs.add, a=1, delay=timedelta(hours=1))
    message = {
        "task_id": "1",
        "task_name": "perform",
        "labels": {"timeout": "soon"},
        "labels_types": {"timeout": 99},
        "args": [task.id],
        "kwargs": {},
    }
    transport: Any = tasks.transport
    await transport._broker.kick(
        BrokerMessage(task_id="1", task_name="x", message=json.dumps(message).encode(), labels={})
    )
    assert (await over(tasks, task)).state == State.SUCCEEDED
