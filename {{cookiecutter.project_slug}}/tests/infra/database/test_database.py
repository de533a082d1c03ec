"""Units of work, the pool, and what errors of the database mean."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Column, MetaData, String, Table, insert, select, text
from sqlalchemy.exc import DBAPIError

from app import bootstrap
from app.errors import BadRequest, StartupError, Unavailable
from app.infra.database import Database, Identity
from app.settings import Settings
from tests.databases import opened, with_database

metadata = MetaData()
notes = Table(
    "note", metadata, Column("id", Identity, primary_key=True), Column("word", String(50))
)


@pytest.fixture
async def database(new_database: str) -> AsyncIterator[Database]:
    """A pool of two connections, whose wait is short, on a database with a table."""
    settings = with_database(Settings(), url=new_database, pool_size=1, pool_overflow=1)
    async with opened(settings, acquire_timeout_seconds=0.05) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        yield database


async def write(database: Database, word: str) -> None:
    async with database.writing() as session:
        await session.execute(insert(notes).values(word=word))


async def words(database: Database) -> list[str]:
    async with database.reading() as connection:
        return list(await connection.scalars(select(notes.c.word).order_by(notes.c.id)))


class TestWriting:
    async def test_commits_at_the_end(self, database: Database) -> None:
        """What was written is there for others once the block has ended, not before."""
        async with database.writing() as session:
            await session.execute(insert(notes).values(word="kept"))
            assert await words(database) == []
        assert await words(database) == ["kept"]

    @pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
    async def test_rolls_back_on_any_error(
        self, database: Database, error: type[BaseException]
    ) -> None:
        """Nothing is kept, also when the request is cancelled, and the connection is free again."""

        async def fail() -> None:
            async with database.writing() as session:
                await session.execute(insert(notes).values(word="lost"))
                raise error

        for _ in range(5):
            with pytest.raises(error):
                await fail()
        await write(database, "kept")
        assert await words(database) == ["kept"]


class TestReading:
    async def test_begins_no_transaction(self, database: Database) -> None:
        """A connection that reads sees what was committed a moment ago."""
        count = text("SELECT count(*) FROM note")
        async with database.reading() as connection:
            assert await connection.scalar(count) == 0
            await write(database, "new")
            assert await connection.scalar(count) == 1


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

    async def test_health_does_not_wait_for_it(self, database: Database) -> None:
        """A service whose connections are all at work is busy, and not ill."""
        async with database.reading(), database.reading():
            await database.check()


async def hang(database: Database) -> None:
    async with database.writing() as session:
        await session.execute(insert(notes).values(word="lost"))
        await asyncio.Event().wait()


async def give_up(database: Database) -> None:
    async with database.reading(), asyncio.timeout(0):
        await asyncio.Event().wait()


class TestTimeOut:
    async def test_a_unit_of_work_that_takes_too_long(self, new_database: str) -> None:
        """503, its connection is free again, and nothing of it is kept."""
        settings = with_database(Settings(), url=new_database, pool_size=1, pool_overflow=0)
        async with opened(settings, unit_timeout_seconds=0.1) as database:
            async with database.engine.begin() as connection:
                await connection.run_sync(metadata.create_all)
            async with asyncio.timeout(10) as patience:
                with pytest.raises(Unavailable, match="does not answer"):
                    await hang(database)
            assert not patience.expired()
        async with opened(settings) as database:
            assert await words(database) == []

    async def test_of_somebody_else(self, database: Database) -> None:
        """A time-out that struck inside is passed on as it is."""
        with pytest.raises(TimeoutError):
            await give_up(database)


class TestErrors:
    async def test_a_statement_that_is_wrong_is_no_outage(self, database: Database) -> None:
        """It would be wrong the next time too."""
        with pytest.raises(DBAPIError, match="nowhere"):
            async with database.reading() as connection:
                await connection.execute(text("SELECT * FROM nowhere"))

    async def test_a_number_that_is_too_large(self, database: Database) -> None:
        """400: no other moment would help, and nobody has to read a traceback."""
        with pytest.raises(BadRequest, match="too large"):
            async with database.writing() as session:
                await session.execute(insert(notes).values(id=2**63))

    async def test_say_no_values(self, database: Database) -> None:
        """The statement that failed is told, and not with what: that is nobody's business."""
        statement = text("SELECT :word FROM nowhere").bindparams(word="of-the-statement")
        with pytest.raises(DBAPIError) as failed:
            async with database.reading() as connection:
                await connection.execute(statement)
        assert "nowhere" in str(failed.value)
        assert "of-the-statement" not in str(failed.value)


class TestOpen:
    @pytest.mark.parametrize(
        "url", ["", "nonsense", "sql+nothing:///x", "sql://x", "sql+nothing://me:hunter2@host/x"]
    )
    def test_what_is_no_url(self, url: str) -> None:
        """One sentence that shows a good one, and no password."""
        settings = with_database(Settings(), url=url)
        assert "hunter2" not in repr(settings)
        with pytest.raises(StartupError, match="APP_DATABASE__URL") as refusal:
            bootstrap.make_database(settings)
        assert "hunter2" not in str(refusal.value)
        assert Settings.model_fields["database"].default.url.split("://")[0] in str(refusal.value)
