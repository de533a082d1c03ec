"""Statements that take long are told, counted, and nobody's data with them."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request
from sqlalchemy import bindparam, select
from sqlalchemy.exc import DBAPIError

from app.infra.database import Database
from app.infra.monitoring import listening
from app.settings import Settings
from tests.databases import make_rows, opened, probing, rows, with_database
from tests.figures import Figures
from tests.recorded import recorded
from tests.serving import running

SECRET = "hunter2"


@pytest.fixture
async def settings(new_database: str) -> Settings:
    settings = with_database(Settings(), url=new_database)
    await make_rows(settings)
    return settings


@pytest.fixture
async def slow(settings: Settings) -> AsyncIterator[Database]:
    """A database whose every statement counts as slow."""
    async with opened(settings, slow_statement_seconds=1e-9) as database:
        yield database


class TestSlowStatement:
    async def test_is_logged_without_its_parameters(self, slow: Database) -> None:
        """The statement in one line, and how long it took."""
        statement = select(rows.c.id, bindparam("word", SECRET)).where(rows.c.value == 1)
        with recorded() as log:
            async with slow.reading() as connection:
                await connection.execute(statement)
        [line] = log.of("slow statement")
        assert line["level"] == "warning"
        assert line["statement"].startswith("SELECT row_of_test.id")
        assert "WHERE row_of_test.value = " in line["statement"]
        assert line["duration_ms"] >= 0
        assert SECRET not in log.text

    async def test_says_for_whom(self, settings: Settings) -> None:
        """The route, as it was declared, and the id of the request."""
        app: FastAPI = probing(settings, slow_statement_seconds=1e-9)

        @app.get("/rows/{value}")
        async def find(request: Request, value: int) -> list[int]:
            database: Database = request.state.database
            async with database.reading() as connection:
                return list(
                    await connection.scalars(select(rows.c.id).where(rows.c.value == value))
                )

        async with running(app) as client:
            with recorded() as log:
                response = await client.get("/rows/4711")
        [line] = log.of("slow statement")
        assert line["route"] == "/rows/{value}"
        assert line["request_id"] == response.headers["x-request-id"]
        assert "4711" not in line["statement"]

    async def test_is_counted(self, slow: Database) -> None:
        """All of them, and the slow ones, for whoever watches."""
        figures = Figures()
        async with listening(figures), slow.reading() as connection:
            await connection.execute(rows.select())
        assert figures.times("database_statement_duration_seconds", slow.name) == 1
        assert figures.total("database_statement_duration_seconds", slow.name) > 0
        assert figures.total("database_slow_statements_total", slow.name) == 1

    async def test_one_that_failed(self, slow: Database) -> None:
        """What the database gave up after a while was slow as well."""
        with recorded() as log, pytest.raises(DBAPIError):
            async with slow.reading() as connection:
                await connection.exec_driver_sql("SELECT nothing FROM nowhere")
        assert len(log.of("slow statement")) == 1

    async def test_below_the_threshold(self, settings: Settings) -> None:
        """Nothing is said of statements that are fast."""
        fast = {"slow_statement_seconds": 60}
        figures = Figures()
        with recorded() as log:
            async with (
                listening(figures),
                opened(settings, **fast) as database,
                database.reading() as connection,
            ):
                await connection.execute(rows.select())
        assert not log.of("slow statement")
        assert not figures.series("database_slow_statements_total")
