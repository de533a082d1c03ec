"""What a request spends on the database, and on waiting for its turn, are told apart."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import insert, select, text

from app.infra import timing
from app.infra.database import Database
from app.settings import Settings
from tests.databases import make_rows, opened, probing, rows, with_database
from tests.serving import running
from tests.timings import parts_of


@pytest.fixture
async def settings(new_database: str) -> Settings:
    settings = with_database(Settings(), url=new_database, acquire_timeout_seconds=60)
    await make_rows(settings)
    return settings


@pytest.fixture
async def narrow(settings: Settings) -> AsyncIterator[Database]:
    """A database with one connection."""
    async with opened(settings, pool_size=1, pool_overflow=0) as database:
        yield database


async def read(database: Database, parts: dict[str, float]) -> None:
    timing.parts.set(parts)
    async with database.reading() as connection:
        await connection.execute(select(rows.c.id))


class TestQueue:
    async def test_waiting_for_a_connection(self, narrow: Database) -> None:
        """While all of them are taken; what the database does meanwhile is others' business."""
        parts: dict[str, float] = {}
        async with narrow.reading() as connection:
            waiting = asyncio.create_task(read(narrow, parts))
            await asyncio.sleep(0)
            await connection.execute(text("SELECT 1"))
            assert not parts
        await waiting
        assert parts.keys() == {"queue", "database"}
        assert min(parts.values()) > 0

    async def test_nobody_waits(self, narrow: Database) -> None:
        """There is no such part then."""
        parts: dict[str, float] = {}
        await asyncio.create_task(read(narrow, parts))
        assert parts.keys() == {"database"}


class TestDatabase:
    async def test_commit_is_part_of_it(self, narrow: Database) -> None:
        """It is where the database writes; and each statement counts once."""
        async with narrow.writing() as session:
            await session.execute(insert(rows).values(value=1))
            parts: dict[str, float] = {}
            token = timing.parts.set(parts)
        timing.parts.reset(token)
        assert parts["database"] > 0


class TestServerTiming:
    async def test_parts_and_total(self, settings: Settings) -> None:
        """Each part is there, and together they are not more than the whole."""
        async with running(probing(settings)) as client:
            answers = [await client.post("/rows"), await client.get("/rows")]
        for answer in answers:
            assert answer.is_success
            parts = parts_of(answer)
            total = parts.pop("total")
            assert {"database", "serialization"} <= parts.keys()
            assert parts["database"] > 0
            # Each is rounded to hundredths.
            assert sum(parts.values()) <= total + 0.01 * len(parts)
