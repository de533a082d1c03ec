"""What PostgreSQL alone does: plans that go stale, locks for migrations, and what it is sent."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table, insert, select, text, update

from app.infra.database import CodePoints, Database
from app.infra.units import unit_of_work
from app.settings import Settings
from tests.databases import make_rows, opened, rows, with_database
from tests.postgresql import PrivateServer
from tests.processes import run
from tests.servers import PATIENCE_SECONDS

CONNECTIONS = 3
# Drivers prepare what they have sent this often.
OFTEN = 10

CALLED = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
WIDEN = "ALTER TABLE row_of_test ALTER COLUMN value TYPE bigint"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
COLLATION = "SELECT collation_name FROM information_schema.columns WHERE table_name = 'word'"

words = Table("word", MetaData(), Column("word", CodePoints(20)))


@pytest.fixture
def settings(new_database: str) -> Settings:
    """A pool of three connections."""
    return with_database(Settings(), url=new_database, pool_size=CONNECTIONS, pool_overflow=0)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A table with two rows."""
    await make_rows(settings)
    async with opened(settings) as database:
        async with database.writing() as session:
            await session.execute(insert(rows), [{"value": 1}, {"value": 2}])
        yield database


Meet = Callable[[], Awaitable[object]]
Use = Callable[[Database, Meet], Coroutine[Any, Any, list[int]]]


async def alone() -> None:
    """Meet nobody."""


async def read(database: Database, meet: Meet = alone) -> list[int]:
    async with database.reading() as connection:
        await meet()
        return list(await connection.scalars(select(rows.c.value).order_by(rows.c.id)))


async def write(database: Database, meet: Meet = alone) -> list[int]:
    async with database.writing() as session:
        await session.connection()
        await meet()
        statement = update(rows).values(value=rows.c.value).returning(rows.c.value)
        return list(await session.scalars(statement))


async def attempts_of(database: Database, use: Use) -> int:
    """How often `use` is tried until it has succeeded once, on every connection at a time."""
    attempts = 0
    everyone = asyncio.Barrier(CONNECTIONS)

    async def meet() -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= CONNECTIONS:
            await everyone.wait()

    asked = (unit_of_work(use)(database, meet) for _ in range(CONNECTIONS))
    assert await asyncio.gather(*asked) == [[1, 2]] * CONNECTIONS
    return attempts


class TestSession:
    @pytest.mark.parametrize(
        ("statement", "expected"),
        [
            ("SHOW statement_timeout", "7500ms"),
            ("SHOW idle_in_transaction_session_timeout", "20s"),
            (CALLED, "this one"),
        ],
    )
    async def test_is_set_up(self, settings: Settings, statement: str, expected: str) -> None:
        """On every connection, and told to whoever looks at the server."""
        limits = {"statement_timeout_seconds": 7.5, "unit_timeout_seconds": 20}
        async with (
            opened(settings, application_name="this one", **limits) as database,
            database.reading() as one,
            database.reading() as other,
        ):
            for connection in (one, other):
                assert await connection.scalar(text(statement)) == expected


class TestStalePlan:
    @pytest.mark.parametrize("use", [read, write])
    async def test_is_made_anew(self, database: Database, settings: Settings, use: Use) -> None:
        """After the migration of another process, each unit of work is repeated once at most."""
        for _ in range(OFTEN):
            assert await attempts_of(database, use) == CONNECTIONS
        async with opened(settings) as other, other.engine.begin() as connection:
            await connection.execute(text(WIDEN))
        assert await attempts_of(database, use) == 2 * CONNECTIONS
        assert await attempts_of(database, use) == CONNECTIONS


class TestWhatIsSent:
    async def test_nothing_around_reads(self, private_server: PrivateServer) -> None:
        """A read is its statements alone; a unit of work that writes has a beginning and an end."""
        private_server.stop()
        private_server.configure(log_statement="all")
        private_server.start()
        log = private_server.folder / "log"
        settings = with_database(Settings(), url=private_server.url, pool_size=1, pool_overflow=0)
        await make_rows(settings)
        async with opened(settings) as database:
            for _ in range(OFTEN):
                await read(database)
                await write(database)
            before = len(log.read_text())
            await read(database)
            await write(database)
            await read(database)
            sent = re.findall(r"LOG:  (?:statement|execute [^:]+): (\w+)", log.read_text()[before:])
        assert sent == ["SELECT", "BEGIN", "UPDATE", "COMMIT", "SELECT"]


class TestMigrations:
    @pytest.mark.slow
    @pytest.mark.usefixtures("startable")
    async def test_processes_wait_for_each_other(self, tmp_path: Path, settings: Settings) -> None:
        """Both are held up by a third; once it has ended, one goes first, and both succeed."""
        async with opened(settings) as database:
            with ThreadPoolExecutor(2) as pool:
                async with database.engine.begin() as connection:
                    await connection.run_sync(database.dialect.lock_migrations)
                    both = [pool.submit(run, tmp_path, "migrate") for _ in range(2)]
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        while await connection.scalar(text(WAITING)) != len(both):
                            assert not any(process.done() for process in both)
                ended = [await asyncio.wrap_future(process) for process in both]
        assert [process.returncode for process in ended] == [0, 0], ended


class TestCodePoints:
    async def test_are_a_collation(self, database: Database) -> None:
        """The column sorts by them, whatever the language of the database."""
        async with database.engine.begin() as connection:
            await connection.run_sync(words.metadata.create_all)
            assert await connection.scalar(text(COLLATION)) == "C"
