"""What workers tell of themselves, at a port of their own."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from tests import task_jobs
from tests.infra.monitoring.prometheus_backend import Scrape
from tests.infra.monitoring.scraping import eventually, scrape, told_at
from tests.task_rooms import open_tasks, over, with_tasks
from tests.task_worker import WorkerProcess, worker

pytestmark = pytest.mark.slow

TASKS = 10


@pytest.fixture
def own(settings: Settings, private_broker: Any) -> Settings:
    """Settings with a queue of the test's own."""
    return with_tasks(settings, url=private_broker.url, timeout_seconds=5, concurrency=2)


class TestWorker:
    async def test_tells_figures(self, own: Settings, tmp_path: Path) -> None:
        """Of all its processes: what was performed, and how it ended."""
        async with open_tasks(own) as rooms:
            tasks = rooms["tasks"]
            with worker(tmp_path, own) as process:
                submitted = [await tasks.submit(task_jobs.add, a=n) for n in range(TASKS)]
                crashed = await tasks.submit(task_jobs.crash)
                for task in (*submitted, crashed):
                    await over(tasks, task)
                name, bad = submitted[0].name, crashed.name
                told = await asyncio.to_thread(eventually, lambda: written(process))
        assert told.get("task_attempts_started_total", task=name) == TASKS
        assert told.get("task_attempts_total", task=name, outcome="succeeded") == TASKS
        assert told.get("task_duration_seconds_count", task=name) == TASKS
        assert told.get("task_attempts_total", task=bad, outcome="failed") == 1
        assert told.get("tasks_dead_total", task=bad) == 1
        assert told.total("service_info", version="0.1.0") == 1


def written(process: WorkerProcess) -> Scrape | None:
    """The figures once all of them are written, which is after the ends of tasks can be seen."""
    told = scrape(told_at(lambda: process.log))
    measured = told.total("task_duration_seconds_count")
    return told if measured > TASKS and told.total("tasks_dead_total") else None
