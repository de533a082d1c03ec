"""Who waits for a connection."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.errors import Unavailable
from app.infra.database import Database
from app.settings import Settings
from tests.databases import opened, with_database


@pytest.fixture
async def database(new_database: str) -> AsyncIterator[Database]:
    """Of one connection."""
    settings = with_database(Settings(), url=new_database)
    async with opened(
        settings, pool_size=1, pool_overflow=0, acquire_timeout_seconds=0.3
    ) as database:
        yield database


async def waiting(database: Database, served: list[str], name: str) -> None:
    async with database.reading():
        served.append(name)


class TestTurns:
    async def test_who_comes_first_is_served_first(self, database: Database) -> None:
        """Also when somebody comes at the moment when the connection is given back."""
        served: list[str] = []
        async with asyncio.TaskGroup() as group:
            async with database.reading():
                for name in ("first", "second", "third"):
                    group.create_task(waiting(database, served, name))
                    await asyncio.sleep(0.01)
            await waiting(database, served, "last")
        assert served == ["first", "second", "third", "last"]

    async def test_who_has_left_is_passed_over(self, database: Database) -> None:
        """Whenever: the connection is nobody's then."""
        served: list[str] = []
        for moment in range(6):
            async with database.reading():
                gone = asyncio.create_task(waiting(database, served, "gone"))
                await asyncio.sleep(0.01)
                stays = asyncio.create_task(waiting(database, served, "stays"))
                await asyncio.sleep(0.01)
            for _ in range(moment):
                await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait({gone})
            await stays
        assert served.count("stays") == 6

    async def test_too_long(self, database: Database) -> None:
        """503; and the next one is served."""
        served: list[str] = []
        async with database.reading():
            with pytest.raises(Unavailable, match="busy"):
                await waiting(database, served, "late")
        await waiting(database, served, "next")
        assert served == ["next"]
