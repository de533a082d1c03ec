"""Units of work, the pool, and SQLite's own needs."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from app.errors import BadRequest, StartupError, Unavailable
from app.infra.database import Database, DatabaseSettings


@asynccontextmanager
async def opened(path: Path, **settings: Any) -> AsyncIterator[Database]:
    database = Database(DatabaseSettings(url=f"sqlite+aiosqlite:///{path}", **settings))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A pool of two connections, whose waits are short, on a file with two tables."""
    settings = {"acquire_timeout_seconds": 0.05, "busy_timeout_seconds": 0.05}
    async with opened(tmp_path / "test.db", pool_size=1, pool_overflow=1, **settings) as database:
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


class TestWriting:
    async def test_commits_at_the_end(self, database: Database) -> None:
        """What was written is there for others once the block has ended, not before."""
        async with database.writing() as session:
            await session.execute(text("INSERT INTO note (word) VALUES ('kept')"))
            assert await words(database) == []
        assert await words(database) == ["kept"]

    @pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
    async def test_rolls_back_on_any_error(
        self, database: Database, error: type[BaseException]
    ) -> None:
        """Nothing is kept, also when the request is cancelled, and the connection is free again."""

        async def fail() -> None:
            async with database.writing() as session:
                await session.execute(text("INSERT INTO note (word) VALUES ('lost')"))
                raise error

        for _ in range(5):
            with pytest.raises(error):
                await fail()
        await write(database, "kept")
        assert await words(database) == ["kept"]

    async def test_processes_wait_for_each_other(self, tmp_path: Path) -> None:
        """Writers that read first, which SQLite fails when they take the lock late, all succeed."""
        path = tmp_path / "busy.db"
        waits = {"acquire_timeout_seconds": 60, "busy_timeout_seconds": 60}
        async with opened(path, **waits) as one, opened(path, **waits) as other:
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
        async with opened(tmp_path / "turns.db", pool_size=1) as database:
            async with database.writing() as session:
                await session.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, word TEXT)"))
            await asyncio.gather(*(write(database, str(number)) for number in range(20)))
            assert await words(database) == [str(number) for number in range(20)]

    async def test_one_that_does_not_come_in_time(self, database: Database) -> None:
        """503, and the turn passes on to the next."""
        async with database.writing():
            with pytest.raises(Unavailable, match="busy"):
                await write(database, "early")
        await write(database, "late")
        assert await words(database) == ["late"]


class TestPool:
    async def test_waits_no_longer_than_the_acquire_time_out(self, database: Database) -> None:
        """503 when every connection is taken; a free one serves the next request."""
        async with database.reading(), database.reading():
            with pytest.raises(Unavailable, match="busy") as refusal:
                # The pool's own time-out, 30 seconds, must not be the one that strikes.
                async with asyncio.timeout(10):
                    await words(database)
        assert refusal.value.headers == {"Retry-After": "1"}
        assert await words(database) == []

    async def test_a_request_that_goes_away_gives_its_connection_back(
        self, database: Database
    ) -> None:
        """Cancelled while it holds a connection, over and over, the pool is never exhausted."""
        for _ in range(5):
            holding = asyncio.Event()

            async def hold(holding: asyncio.Event = holding) -> None:
                async with database.reading():
                    holding.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(hold())
            await holding.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await words(database) == []


class TestErrors:
    async def test_a_statement_that_is_wrong_is_no_outage(self, database: Database) -> None:
        """It would be wrong the next time too."""
        with pytest.raises(OperationalError, match="no such table"):
            async with database.reading() as connection:
                await connection.execute(text("SELECT * FROM nowhere"))

    async def test_a_number_that_is_too_large(self, database: Database) -> None:
        """400: no other moment would help, and nobody has to read a traceback."""
        with pytest.raises(BadRequest, match="too large"):
            async with database.reading() as connection:
                await connection.execute(text("SELECT :number"), {"number": 2**63})


class TestCheck:
    async def test_a_file_that_is_gone(self, database: Database, tmp_path: Path) -> None:
        """Connections go on with what was it, and everything they write would be lost."""
        await database.check()
        (tmp_path / "test.db").unlink()
        with pytest.raises(FileNotFoundError):
            await database.check()


class TestOpen:
    @pytest.mark.parametrize("place", ["missing/folder/test.db", "."])
    async def test_a_file_that_cannot_be_opened(self, tmp_path: Path, place: str) -> None:
        """One sentence that names the URL and the remedy."""
        with pytest.raises(StartupError, match=r"cannot be opened .* correct APP_DATABASE__URL"):
            async with opened(tmp_path / place):
                pass

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "nonsense",
            "sqlite+nothing:///x",
            "sqlite:///x",
            "sqlite+aiosqlite://me:hunter2@host/x",
        ],
    )
    def test_what_is_no_url(self, url: str) -> None:
        """One sentence that shows a good one, and no password."""
        settings = DatabaseSettings(url=url)
        assert "hunter2" not in repr(settings)
        with pytest.raises(StartupError, match="APP_DATABASE__URL") as refusal:
            Database(settings)
        assert "hunter2" not in str(refusal.value)


class TestSqlite:
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

    async def test_reading_begins_no_transaction(self, database: Database) -> None:
        """A connection that reads sees what was committed a moment ago."""
        async with database.reading() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM note")) == 0
            await write(database, "new")
            assert await connection.scalar(text("SELECT count(*) FROM note")) == 1
