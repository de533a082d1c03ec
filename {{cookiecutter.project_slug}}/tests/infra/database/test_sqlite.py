"""What SQLite needs: a lock that writers take in turn, and a file that is where it was."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.errors import StartupError, Unavailable
from app.infra import timing
from app.infra.database import Database
from app.settings import Settings
from tests.databases import opened, with_database


def settings_for(path: Path, **changes: Any) -> Settings:
    return with_database(Settings(), url=f"sqlite+aiosqlite:///{path}", **changes)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A pool of two connections, whose waits are short, on a file with two tables."""
    waits = {"acquire_timeout_seconds": 0.05, "busy_timeout_seconds": 0.05}
    settings = settings_for(tmp_path / "test.db", pool_size=1, pool_overflow=1, **waits)
    async with opened(settings) as database:
        async with database.writing() as session:
            await session.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, word TEXT)"))
            await session.execute(
                text("CREATE TABLE tag (note_id INTEGER NOT NULL REFERENCES note (id))")
            )
        yield database


async def write(database: Database, word: str) -> None:
    async with database.writing() as session:
        await session.execute(text("INSERT INTO note (word) VALUES (:word)"), {"word": word})


async def words(database: Database) -> list[str]:
    async with database.reading() as connection:
        return list(await connection.scalars(text("SELECT word FROM note ORDER BY id")))


class TestLock:
    async def test_processes_wait_for_each_other(self, tmp_path: Path) -> None:
        """Writers that read first, which SQLite fails when they take the lock late, all succeed."""
        path = tmp_path / "busy.db"
        settings = settings_for(path, acquire_timeout_seconds=60, busy_timeout_seconds=60)
        async with opened(settings) as one, opened(settings) as other:
            async with one.writing() as session:
                await session.execute(text("CREATE TABLE counter (value INTEGER)"))
                await session.execute(text("INSERT INTO counter VALUES (0)"))

            async def count_up(database: Database) -> None:
                async with database.writing() as session:
                    value = await session.scalar(text("SELECT value FROM counter"))
                    statement = text("UPDATE counter SET value = :value")
                    await session.execute(statement, {"value": value + 1})

            await asyncio.gather(*(count_up(each) for each in (one, other) * 20))
            async with one.reading() as connection:
                assert await connection.scalar(text("SELECT value FROM counter")) == 40

    async def test_a_lock_that_is_held_too_long(self, database: Database, tmp_path: Path) -> None:
        """503 after the busy time-out, and the next unit of work succeeds."""
        other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="does not answer"):
            await write(database, "early")
        other.execute("ROLLBACK")
        other.close()
        await write(database, "late")
        assert await words(database) == ["late"]


class TestTurns:
    async def test_writers_that_wait_keep_no_reader_out(self, database: Database) -> None:
        """However many there are: a writer takes a connection when it is its turn."""
        async with database.writing():
            waiting = [asyncio.create_task(write(database, "late")) for _ in range(20)]
            await asyncio.sleep(0)
            assert await words(database) == []
        await asyncio.wait(waiting)

    async def test_are_in_order(self, tmp_path: Path) -> None:
        """Who came first writes first."""
        async with opened(settings_for(tmp_path / "turns.db", pool_size=1)) as database:
            async with database.writing() as session:
                await session.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, word TEXT)"))
            await asyncio.gather(*(write(database, str(number)) for number in range(20)))
            assert await words(database) == [str(number) for number in range(20)]

    async def test_waiting_for_one_is_told(self, tmp_path: Path) -> None:
        """As the queue's part of a request's time."""
        parts: dict[str, float] = {}
        async with opened(settings_for(tmp_path / "turns.db", pool_size=1)) as database:

            async def wait() -> None:
                timing.parts.set(parts)
                await write(database, "late")

            async with database.writing() as session:
                await session.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, word TEXT)"))
                waiting = asyncio.create_task(wait())
                await asyncio.sleep(0)
                assert not parts
                await session.execute(text("INSERT INTO note (word) VALUES ('early')"))
            await waiting
        assert parts["queue"] > 0

    async def test_one_that_does_not_come_in_time(self, database: Database) -> None:
        """503, and the turn passes on to the next."""
        async with database.writing():
            with pytest.raises(Unavailable, match="busy"):
                await write(database, "early")
        await write(database, "late")
        assert await words(database) == ["late"]


class TestFile:
    async def test_a_file_that_is_gone(self, database: Database, tmp_path: Path) -> None:
        """Connections go on with what was it, and everything they write would be lost."""
        await database.check()
        (tmp_path / "test.db").unlink()
        with pytest.raises(FileNotFoundError):
            await database.check()

    @pytest.mark.parametrize("place", ["missing/folder/test.db", "."])
    async def test_a_file_that_cannot_be_opened(self, tmp_path: Path, place: str) -> None:
        """One sentence that names the URL and the remedy."""
        with pytest.raises(StartupError, match=r"cannot be opened .* correct APP_DATABASE__URL"):
            async with opened(settings_for(tmp_path / place)):
                pass


class TestConnections:
    @pytest.mark.parametrize(
        ("pragma", "expected"),
        [("journal_mode", "wal"), ("synchronous", 1), ("foreign_keys", 1), ("busy_timeout", 50)],
    )
    async def test_is_set_up(self, database: Database, pragma: str, expected: object) -> None:
        """On every connection of the pool."""
        async with database.reading() as one, database.reading() as two:
            for connection in (one, two):
                assert await connection.scalar(text(f"PRAGMA {pragma}")) == expected

    async def test_foreign_keys_hold(self, database: Database) -> None:
        """SQLite checks them only when it is told to."""
        with pytest.raises(IntegrityError):
            async with database.writing() as session:
                await session.execute(text("INSERT INTO tag VALUES (4711)"))

    async def test_one_that_is_closed_gives_its_lock_back(self, database: Database) -> None:
        """Also while somebody holds a cursor of it, as tracebacks of cancelled requests do."""
        await write(database, "first")
        await write(database, "second")
        async with database.engine.connect() as connection:
            await connection.exec_driver_sql("UPDATE note SET word = word")
            driver: Any = (await connection.get_raw_connection()).driver_connection
            held = await driver.execute("SELECT word FROM note")
            await connection.invalidate()
        await write(database, "third")
        assert await words(database) == ["first", "second", "third"]
        assert held is not None

    async def test_health_waits_for_no_writer(self, database: Database) -> None:
        """It only reads."""
        async with database.writing() as session:
            await session.execute(text("INSERT INTO note (word) VALUES ('slow')"))
            await database.check()
