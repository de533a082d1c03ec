"""Databases to test with."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from sqlalchemy import Column, Integer, MetaData, Select, Table, func, insert, select

from app import bootstrap
from app.errors import Conflict
from app.infra.database import Database, Identity, Prepared
from app.infra.units import unit_of_work
from app.main import create_app
from app.settings import Settings

rows = Table(
    "row_of_test",
    MetaData(),
    Column("id", Identity, primary_key=True),
    Column("value", Integer, nullable=False),
)


def with_database(settings: Settings, **changes: Any) -> Settings:
    """`settings` with other settings of the database."""
    checked = type(settings.database)(**(settings.database.model_dump() | changes))
    return settings.model_copy(update={"database": checked})


async def migrate(settings: Settings) -> None:
    """Apply every revision."""
    async with bootstrap.open_migrations(settings) as revisions:
        await revisions.upgrade()


@asynccontextmanager
async def opened(settings: Settings, **changes: Any) -> AsyncIterator[Database]:
    """The database of `settings`, perhaps with others of its settings."""
    database = bootstrap.make_database(with_database(settings, **changes))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@dataclass(frozen=True)
class Plan:
    """How a database means to find the rows of one table."""

    index: str | None
    """The index that it reads."""
    bounded: bool
    """Whether it enters the index somewhere, rather than read all of it."""
    sorts: bool
    """Whether it has to sort what it finds."""


Explain = Callable[[Database, Select[Any]], Awaitable[Plan]]
"""Asks the database how it means to execute a statement, with figures about its tables at hand."""


COUNT = Prepared(select(func.count()).select_from(rows))
ADD = Prepared(insert(rows).returning(rows.c.id), ["value"])


def probing(settings: Settings, **changes: Any) -> FastAPI:
    """The service with routes to a table of its own: GET counts rows, POST adds one.

    Those in `/prepared` take the shorter way.
    """
    settings = with_database(settings, **changes)

    @asynccontextmanager
    async def open_rooms(settings: Settings) -> AsyncIterator[dict[str, Any]]:
        async with opened(settings) as database:
            yield {"database": database, "checks": {"database": database.check}}

    app = create_app(settings, open_rooms=open_rooms)

    @app.get("/rows")
    @unit_of_work
    async def count_rows(request: Request) -> int:
        database: Database = request.state.database
        async with database.reading() as connection:
            return await connection.scalar(select(func.count()).select_from(rows)) or 0

    @app.post("/rows", status_code=201)
    @unit_of_work
    async def add_row(request: Request) -> None:
        database: Database = request.state.database
        async with database.writing() as session:
            await session.execute(insert(rows).values(value=0))

    @app.get("/prepared/rows")
    @unit_of_work
    async def count_prepared(request: Request) -> int:
        database: Database = request.state.database
        [[count]] = await database.fetch(COUNT, {})
        return int(count)

    @app.post("/prepared/rows", status_code=201)
    @unit_of_work
    async def add_prepared(request: Request) -> None:
        database: Database = request.state.database
        if database.dialect.has_returning:
            await database.change(ADD, {"value": 0}, lambda: Conflict("It is there."))
        else:
            await add_row(request)

    return app


async def make_rows(settings: Settings) -> None:
    """Make the table of `probing`."""
    async with opened(settings) as database, database.engine.begin() as connection:
        await connection.run_sync(rows.metadata.create_all)
