"""What MySQL and MariaDB alone need: sessions that are set up, and nothing sent for nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text

from app.errors import StartupError
from app.infra.database import Database, Identity
from app.infra.database.migrations import Migrations
from app.settings import Settings
from tests.databases import opened, with_database
from tests.mysql import PrivateServer, Server
from tests.processes import run
from tests.servers import PATIENCE_SECONDS

ROWS = 1_000
STATUS = "SHOW SESSION STATUS WHERE Variable_name = 'Questions' OR Variable_name LIKE 'Com\\_%'"
CALLED = """
SELECT attr_value FROM performance_schema.session_connect_attrs
WHERE processlist_id = connection_id() AND attr_name = 'program_name'
"""
WAITING = """
SELECT count(*) FROM information_schema.processlist
WHERE db = database() AND state = 'User lock'
"""
COLLATION = """
SELECT table_collation FROM information_schema.tables
WHERE table_schema = database() AND table_name = 'word'
"""

REVISION = """
from alembic import op

revision = {revision!r}
down_revision = {before!r}


def upgrade():
    op.execute({statement!r})
"""

words = Table(
    "word",
    MetaData(),
    Column("id", Identity, primary_key=True),
    Column("word", String(20), unique=True),
    Column("times", Integer),
    Column("version", Integer, nullable=False, default=1),
)


@pytest.fixture
def settings(new_database: str) -> Settings:
    """One connection, which has to do for everything."""
    return with_database(Settings(), url=new_database, pool_size=1, pool_overflow=0)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """An empty table."""
    async with opened(settings) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(words.metadata.create_all)
        yield database


class TestSession:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            # Each of the two servers calls these its own way.
            (("transaction_isolation", "tx_isolation"), {"READ-COMMITTED"}),
            (("max_execution_time", "max_statement_time"), {"7500", "7.500000"}),
            (("character_set_connection",), {"utf8mb4"}),
        ],
    )
    async def test_is_set_up(
        self, settings: Settings, names: tuple[str, ...], expected: set[str]
    ) -> None:
        """On every connection."""
        listed = ", ".join(f"'{name}'" for name in names)
        show = text(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({listed})")
        async with (
            opened(settings, pool_size=2, statement_timeout_seconds=7.5) as database,
            database.reading() as one,
            database.reading() as other,
        ):
            for connection in (one, other):
                values = {value for _, value in await connection.execute(show)}
                assert values
                assert values <= expected

    async def test_is_called_what_the_settings_say(self, private_server: PrivateServer) -> None:
        """In the server's own lists, where it keeps any."""
        private_server.stop()
        private_server.configure(performance_schema="ON")
        private_server.start()
        settings = with_database(Settings(), url=private_server.url, application_name="this one")
        async with opened(settings) as database, database.reading() as connection:
            assert await connection.scalar(text(CALLED)) == "this one"


async def counts(database: Database) -> dict[str, int]:
    async with database.reading() as connection:
        shown = await connection.execute(text(STATUS))
        return {name.removeprefix("Com_"): int(value) for name, value in shown}


async def sent(database: Database, use: Callable[[Database], Awaitable[None]]) -> dict[str, int]:
    """How many statements of each kind the server got during `use`, and how many in all."""
    before = await counts(database)
    await use(database)
    after = await counts(database)
    after["Questions"] -= 1  # to be asked how many there were
    after["show_status"] -= 1
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


async def read_thrice(database: Database) -> None:
    async with database.reading() as connection:
        for _ in range(3):
            await connection.execute(select(words))


async def read_nothing(database: Database) -> None:
    async with database.reading():
        pass


async def write(database: Database) -> None:
    async with database.writing() as session:
        await session.execute(insert(words).values(word="kept"))


async def give_up(database: Database) -> None:
    with suppress(ZeroDivisionError):
        async with database.writing() as session:
            await session.execute(insert(words).values(word="lost"))
            raise ZeroDivisionError


async def upsert(database: Database) -> None:
    rows = [{"word": f"{number:04}", "times": number, "version": 1} for number in range(ROWS)]
    for _ in range(2):
        async with database.writing() as session:
            ids = await database.dialect.upsert_all(session, words, rows, "word", ["times"])
        assert len(set(ids)) == ROWS


class TestRoundTrips:
    @pytest.mark.parametrize(
        ("use", "expected"),
        [
            (read_nothing, {}),
            (read_thrice, {"select": 3}),
            (write, {"begin": 1, "insert": 1, "commit": 1}),
            (give_up, {"begin": 1, "insert": 1, "rollback": 1}),
            # What has no RETURNING is asked for the ids.
            (upsert, {"begin": 2, "insert": 2, "select": 2, "commit": 2}),
        ],
    )
    async def test_no_more_than_it_takes(
        self,
        database: Database,
        use: Callable[[Database], Awaitable[None]],
        expected: dict[str, int],
    ) -> None:
        """Nothing begins around a read, nothing is rolled back that did not begin."""
        everything = {"Questions": sum(expected.values())} if expected else {}
        assert await sent(database, use) == expected | everything

    async def test_a_unit_of_work_that_was_given_up_leaves_nothing(
        self, database: Database
    ) -> None:
        """Its connection begins anew with whoever gets it next."""
        await give_up(database)
        await write(database)
        async with database.reading() as connection:
            assert list(await connection.scalars(select(words.c.word))) == ["kept"]


class TestTables:
    async def test_text_is_kept_as_it_is(self, database: Database) -> None:
        """Told apart by case, accent and trailing spaces, with all characters that there are."""
        kept = ["a", "A", "a ", "á", "\N{GRINNING FACE}"]
        async with database.writing() as session:
            await session.execute(insert(words), [{"word": word} for word in kept])
        async with database.reading() as connection:
            found = await connection.scalars(select(words.c.word).order_by(words.c.word))
            assert list(found) == sorted(kept)
            assert await connection.scalar(text(COLLATION)) in {
                "utf8mb4_nopad_bin",
                "utf8mb4_0900_bin",
            }


class TestMigrations:
    @pytest.mark.slow
    @pytest.mark.usefixtures("startable")
    async def test_processes_wait_for_each_other(self, database: Database, tmp_path: Path) -> None:
        """Both are held up by a third; once it has ended, one goes first, and both succeed."""
        with ThreadPoolExecutor(2) as pool:
            async with database.engine.connect() as connection:
                unlock = await connection.run_sync(database.dialect.lock_migrations)
                both = [pool.submit(run, tmp_path, "migrate") for _ in range(2)]
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while await connection.scalar(text(WAITING)) != len(both):
                        assert not any(process.done() for process in both)
                await connection.run_sync(lambda _: unlock())
            ended = [await asyncio.wrap_future(process) for process in both]
        assert [process.returncode for process in ended] == [0, 0], ended

    async def test_no_other_database_is_waited_for(
        self, database: Database, server: Server, settings: Settings
    ) -> None:
        """A service that shares the server migrates when it likes."""
        url = server.create()
        async with database.engine.connect() as connection:
            unlock = await connection.run_sync(database.dialect.lock_migrations)
            async with asyncio.timeout(PATIENCE_SECONDS), opened(settings, url=url) as other:
                assert await Migrations(other, MetaData(), {}).pending() == []
            await connection.run_sync(lambda _: unlock())
        server.drop(url)

    async def test_what_is_done_is_recorded(self, database: Database, tmp_path: Path) -> None:
        """Each revision by itself, so a later one that fails takes none of them back."""
        migrations = Migrations(database, MetaData(), {"notes": tmp_path})

        def write(revision: str, before: str | None, statement: str) -> None:
            text = REVISION.format(revision=revision, before=before, statement=statement)
            (tmp_path / f"{revision}.py").write_text(text)

        write("table", None, "CREATE TABLE note (id INTEGER)")
        await migrations.upgrade()
        write("row", "table", "INSERT INTO note VALUES (1)")
        write("mistake", "row", "INSERT INTO nowhere VALUES (1)")
        with pytest.raises(StartupError, match="nowhere"):
            await migrations.upgrade()
        assert await migrations.pending() == ["mistake"]
        async with database.reading() as connection:
            assert list(await connection.scalars(text("SELECT id FROM note"))) == [1]
