"""Tasks in a table, and a job whose effect stands in another one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import insert

from app import bootstrap
from app.infra.database import Database
from app.infra.lifecycle import opened
from app.infra.tasks import Job, Run
from app.settings import Settings
from tests.databases import rows


async def effect(run: Run, number: int) -> None:
    """Do what must be done once, and take a moment for it."""
    database: Database = run.rooms["database"]
    if run.checkpoint is None:
        await asyncio.sleep(0.02)
        async with database.writing() as session:
            await session.execute(insert(rows).values(value=number))
            await run.save(True)


EFFECT = Job(effect, attempts=20, backoff_seconds=0.05)


@asynccontextmanager
async def open_rooms(settings: Settings, jobs: Sequence[Job]) -> AsyncIterator[dict[str, Any]]:
    """What `jobs` find as `rooms`, open."""
    database = bootstrap.make_database(settings)
    tasks = bootstrap.make_tasks(settings, database, jobs)
    if hasattr(tasks.transport, "program"):
        # What it starts opens these rooms too.
        tasks.transport.program = "tests.task_pool"
    async with opened(database, tasks):
        yield {"database": database, "checks": {"database": database.check}, "tasks": tasks}
