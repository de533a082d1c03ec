"""Tasks that are submitted within a unit of work are part of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import insert, select

from app.errors import TryAgain
from app.infra.database import Database
from app.infra.tasks import Run, State, Superseded, Task, Tasks
from app.infra.tasks.performer import Attempt
from app.infra.units import unit_of_work
from app.settings import Settings
from tests import task_jobs
from tests.databases import make_rows, rows
from tests.task_rooms import open_tasks, with_tasks


@pytest.fixture
async def rooms(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    await make_rows(settings)
    async with open_tasks(with_tasks(settings)) as rooms:
        yield rooms


@pytest.fixture
def tasks(rooms: dict[str, Any]) -> Tasks:
    """Tasks that nobody performs."""
    found: Tasks = rooms["tasks"]
    return found


@pytest.fixture
def database(rooms: dict[str, Any]) -> Database:
    found: Database = rooms["database"]
    return found


async def kept(tasks: Tasks) -> int:
    return sum(backlog.queued for backlog in await tasks.backlog())


async def submit_in_vain(tasks: Tasks, database: Database) -> Task:
    """Submit a task in a unit of work that is undone."""
    with suppress(RuntimeError):
        async with database.writing():
            task = await tasks.submit(task_jobs.add, a=1)
            raise RuntimeError
    return task


class TestSubmit:
    async def test_committed_together(self, tasks: Tasks, database: Database) -> None:
        """Nobody sees the task before what it belongs to."""
        async with database.writing() as session:
            await session.execute(insert(rows).values(value=1))
            task = await tasks.submit(task_jobs.add, a=1)
            assert await tasks.ledger.read(task.id) is None
        assert await tasks.ledger.read(task.id) == task

    async def test_rolled_back(self, tasks: Tasks, database: Database) -> None:
        """It is neither kept nor sent."""
        task = await submit_in_vain(tasks, database)
        assert await tasks.ledger.read(task.id) is None
        assert not tasks.relay._news

    async def test_sent_after_the_commit(
        self, database: Database, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        announced: list[str] = []
        monkeypatch.setattr(tasks.relay, "announce", announced.append)
        async with database.writing():
            task = await tasks.submit(task_jobs.add, a=1)
            assert announced == []
        assert announced == [task.id]

    async def test_repeated_unit(self, tasks: Tasks, database: Database) -> None:
        """One that is undone and tried again submits one task."""
        attempts: list[Task] = []

        @unit_of_work
        async def work() -> None:
            async with database.writing():
                attempts.append(await tasks.submit(task_jobs.add, a=1))
                if len(attempts) < 3:
                    raise TryAgain("busy")

        await work()
        assert len(attempts) == 3
        assert await kept(tasks) == 1

    async def test_task_of_asyncio_that_outlives_the_unit(
        self, tasks: Tasks, database: Database
    ) -> None:
        """It has a unit of its own."""
        over = asyncio.Event()

        async def later() -> Task:
            await over.wait()
            return await tasks.submit(task_jobs.add, a=1)

        async with database.writing():
            submission = asyncio.create_task(later())
        over.set()
        assert await tasks.ledger.read((await submission).id) is not None


class TestSave:
    async def test_together_with_the_effect(self, rooms: dict[str, Any], tasks: Tasks) -> None:
        """What an attempt did, and that it did it, are kept together or not at all."""
        database: Database = rooms["database"]
        task = await tasks.submit(task_jobs.climb, steps=1)
        claimed = await tasks.ledger.claim(task.id, task.created_at, task.look_at)
        assert claimed is not None
        with suppress(RuntimeError):
            async with database.writing() as session:
                await session.execute(insert(rows).values(value=1))
                await tasks.ledger.save(claimed, "[0]", 1, 1)
                raise RuntimeError
        current = await tasks.get(task.id)
        assert (current.checkpoint, current.done) == (None, 0)
        async with database.writing() as session:
            await session.execute(insert(rows).values(value=2))
            await tasks.ledger.save(claimed, "[0]", 1, 1)
        current = await tasks.get(task.id)
        assert (current.checkpoint, current.done) == ("[0]", 1)
        async with database.reading() as connection:
            assert (await connection.scalars(select(rows.c.value))).all() == [2]

    async def test_effect_of_who_was_superseded(self, rooms: dict[str, Any], tasks: Tasks) -> None:
        """Nothing of it is kept."""
        database: Database = rooms["database"]

        async def effect(run: Run) -> None:
            async with database.writing() as session:
                await session.execute(insert(rows).values(value=run.attempt))
                await run.save()

        task = await tasks.submit(task_jobs.look)
        old = await tasks.ledger.claim(task.id, task.created_at, task.look_at)
        assert old is not None
        await tasks.ledger.postpone(old, task.due_at, failed=True)
        new = await tasks.ledger.claim(task.id, task.created_at, task.look_at)
        assert new is not None
        with pytest.raises(Superseded):
            await effect(Attempt(old, rooms, tasks.ledger, None))
        await effect(Attempt(new, rooms, tasks.ledger, None))
        async with database.reading() as connection:
            assert (await connection.scalars(select(rows.c.value))).all() == [2]
        assert (await tasks.get(task.id)).state == State.RUNNING
