"""Statements that are asked of the driver itself."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import (
    Column,
    Engine,
    MetaData,
    Numeric,
    String,
    Table,
    bindparam,
    event,
    insert,
    select,
)
from sqlalchemy.exc import StatementError

from app.errors import BadRequest, Conflict
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
    Column("origin", String(20), default="here"),
    Column("size", Numeric(8, 2)),
)
ALL = Prepared(
    select(things.c.id, things.c.name, things.c.weight, things.c.made_at)
    .where(things.c.weight >= bindparam("least"))
    .order_by(things.c.id)
)
ADD = Prepared(
    insert(things).returning(things.c.id),
    ["name", "weight", "made_at", "origin", "size"],
)
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
STONE = {"name": "stone", "weight": Decimal("12.34"), "made_at": NOW, "origin": "there", "size": 1}


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


async def test_what_columns_have_by_themselves(database: Database, way: list[str]) -> None:
    """A value that SQLAlchemy makes for each row is made, and a type that it reads is read."""
    if not database.dialect.has_returning:
        return
    add = Prepared(insert(things).returning(things.c.origin, things.c.size), ["name", "size"])
    [row] = await database.change(add, {"name": "log", "size": Decimal("1.25")}, taken)
    assert tuple(row) == ("here", Decimal("1.25"))
    assert set(way) <= {"INSERT", "BEGIN"}


async def test_lists(database: Database, way: list[str]) -> None:
    names = Prepared(
        select(things.c.name).where(things.c.name.in_(bindparam("names", expanding=True)))
    )
    assert len(await database.fetch(names, {"names": ["stone", "log"]})) == 1
    assert set(way) <= {"SELECT"}


async def test_wrong_values(database: Database, way: list[str]) -> None:
    """They are the caller's mistake, and say nothing about the database."""
    with pytest.raises(StatementError):
        await database.fetch(ALL, {})
    with pytest.raises(StatementError):
        await database.fetch(ALL, {"least": Decimal("1.005")})
    with pytest.raises(BadRequest, match="too large"):
        await database.fetch(ALL, {"least": Decimal("1E+99")})
    if database.dialect.has_returning:
        with pytest.raises(StatementError):
            await database.change(ADD, {**STONE, "made_at": datetime(2026, 1, 2)}, taken)  # noqa: DTZ001
    assert set(way) <= {"BEGIN"}


async def test_who_listens_to_anything_hears_it(database: Database) -> None:
    seen: list[str] = []
    for event_name in ("before_execute", "after_cursor_execute"):
        seen.clear()

        def note(*_arguments: object) -> None:
            seen.append("heard")

        event.listen(Engine, event_name, note)
        try:
            await database.fetch(ALL, {"least": Decimal(0)})
        finally:
            event.remove(Engine, event_name, note)
        assert seen == ["heard"]
