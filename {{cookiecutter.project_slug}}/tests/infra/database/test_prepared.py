"""Statements that are asked of the driver itself."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import Column, Engine, MetaData, String, Table, bindparam, event, insert, select

from app.errors import Conflict
from app.infra.database import Database, Hundredths, Identity, Prepared, UtcDateTime
from app.settings import Settings
from tests.databases import opened, with_database

things = Table(
    "thing_of_test",
    MetaData(),
    Column("id", Identity, primary_key=True),
    Column("name", String(20), unique=True),
    Column("weight", Hundredths),
    Column("made_at", UtcDateTime),
)
ALL = Prepared(select(things).where(things.c.weight >= bindparam("least")).order_by(things.c.id))
ADD = Prepared(insert(things).returning(things.c.id), ["name", "weight", "made_at"])
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
STONE = {"name": "stone", "weight": Decimal("12.34"), "made_at": NOW}


def taken() -> Conflict:
    return Conflict("The name is taken.")


@pytest.fixture
async def database(new_database: str) -> AsyncIterator[Database]:
    async with opened(with_database(Settings(), url=new_database)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(things.metadata.create_all)
            await connection.execute(insert(things).values(STONE))
        yield database


@pytest.fixture(params=["shorter", "usual"])
async def way(request: pytest.FixtureRequest) -> AsyncIterator[list[str]]:
    """What a listener has seen; with one, statements go the usual way."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement.split()[0])

    if request.param == "usual":
        event.listen(Engine, "before_cursor_execute", note)
    yield seen
    if request.param == "usual":
        event.remove(Engine, "before_cursor_execute", note)


async def test_rows(database: Database, way: list[str]) -> None:
    """Columns have the types that they are declared with, and parameters too."""
    [row] = await database.fetch(ALL, {"least": Decimal("12.34")})
    assert tuple(row)[1:] == ("stone", Decimal("12.34"), NOW)
    assert await database.fetch(ALL, {"least": Decimal("12.35")}) == []
    assert way in ([], ["SELECT", "SELECT"])


async def test_change(database: Database, way: list[str]) -> None:
    """It is committed, and a constraint in its way is told as the caller says."""
    if not database.dialect.has_returning:
        return
    [[added]] = await database.change(ADD, {**STONE, "name": "log"}, taken)
    with pytest.raises(Conflict, match="The name is taken"):
        await database.change(ADD, STONE, taken)
    rows = await database.fetch(ALL, {"least": Decimal(0)})
    assert [row[1] for row in rows] == ["stone", "log"]
    assert rows[1][0] == added
    assert set(way) <= {"INSERT", "SELECT", "BEGIN"}
