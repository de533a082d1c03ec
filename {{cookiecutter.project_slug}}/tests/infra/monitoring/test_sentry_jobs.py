"""Jobs that fail for a reason that nobody expected are told of, wherever they run."""

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.infra.monitoring.sentry import SentrySettings
from app.settings import Settings
from tests import task_jobs
from tests.sentry_endpoint import sentry
from tests.task_rooms import open_tasks, over, performing, with_tasks


async def test_failing_job(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the name and the id of its task; one that refuses what it was asked for is not."""
    with sentry() as endpoint:
        monkeypatch.setenv("APP_SENTRY__DSN", endpoint.dsn)
        chosen = with_tasks(settings)
        chosen = chosen.model_copy(update={"sentry": SentrySettings(dsn=SecretStr(endpoint.dsn))})
        with performing(chosen, tmp_path):
            async with open_tasks(chosen, works=True) as rooms:
                tasks = rooms["tasks"]
                refused = await tasks.submit(task_jobs.refuse, detail="There is none.")
                await over(tasks, refused)
                crashed = await over(tasks, await tasks.submit(task_jobs.crash))
                [event] = await asyncio.to_thread(endpoint.wait)
    assert event["tags"] == {"task": "tests.task_jobs.crash", "task_id": crashed.id}
    assert event["transaction"] == "tests.task_jobs.crash"
    assert event["exception"]["values"][-1]["type"] == "RuntimeError"
