"""What is Celery's own over Redis."""

import asyncio
import json

import pytest

from app.infra.tasks import Job, Task
from app.infra.tasks.celery_redis import CeleryRedis
from app.infra.tasks.working import working
from app.settings import Settings
from tests import task_jobs
from tests.processes import environment
from tests.redis_servers import ask
from tests.task_rooms import PATIENCE_SECONDS, of_tasks, open_tasks, over, with_tasks
from tests.task_worker import as_variables

ITEMS = [
    b"",
    b"not JSON",
    b"\xff\xfe",
    b"[]",
    b"5",
    b"{}",
    json.dumps({"body": "?", "headers": {}, "properties": {}}).encode(),
    json.dumps(
        {
            "body": "not base64!",
            "headers": {"task": "perform"},
            "properties": {
                "body_encoding": "base64",
                "delivery_tag": "1",
                "delivery_info": {"exchange": "", "routing_key": ""},
            },
        }
    ).encode(),
]


@pytest.mark.slow
async def test_items_of_strangers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no message at all would end kombu, and with it the worker."""
    chosen = with_tasks(settings, concurrency=1)
    queue = of_tasks(chosen)
    for name, value in environment(**as_variables(chosen)).items():
        monkeypatch.setenv(name, value)
    async with open_tasks(chosen) as rooms, working(rooms["tasks"], rooms):
        tasks = rooms["tasks"]
        for item in ITEMS:
            ask(queue.url, "LPUSH", f"{queue.prefix}:celery", item)
        assert (await over(tasks, await tasks.submit(task_jobs.add, a=1))).result == "2"
        dead: list[Task] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(dead) < len(ITEMS):
                dead = await tasks.ledger.failed(100)
                await asyncio.sleep(0.05)
        assert {task.name for task in dead} == {"(unreadable)"}
        assert ask(queue.url, "HLEN", f"{queue.prefix}:unacked") == 0


def test_longest_job(settings: Settings) -> None:
    """A message is not brought again while its job may run."""
    longest = Job(task_jobs.wait, time_limit_seconds=7_200)
    configuration = CeleryRedis(of_tasks(settings), [longest], "nothing").configuration(1)
    options = configuration["broker_transport_options"]
    assert options["visibility_timeout"] > configuration["task_time_limit"] > 7_200


def test_certificates_are_checked(settings: Settings) -> None:
    """By itself kombu would take any."""
    chosen = with_tasks(settings, url="rediss://127.0.0.1:1/0")
    transport = CeleryRedis(of_tasks(chosen), [], "nothing")
    with transport._connect_lazily() as connection:
        assert connection.ssl == {"ssl_cert_reqs": "required"}
