"""What tables are declared with."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, String, Table, delete, insert, select
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from app.errors import BadRequest
from app.infra.database import Base, CodePoints, Database, Hundredths, Identity, UtcDateTime
from app.settings import Settings
from tests.databases import opened, with_database

DIALECT = DefaultDialect()
metadata = MetaData()
things = Table(
    "thing",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("moment", UtcDateTime),
    Column("amount", Hundredths),
    Column("name", CodePoints(200)),
    Column("code", String(20), unique=True),
)


@pytest.fixture
async def database(new_database: str) -> AsyncIterator[Database]:
    """A table with a column of each type."""
    async with opened(with_database(Settings(), url=new_database)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        yield database


def numbers_of(inserted: Any) -> Any:
    return inserted.inserted_primary_key


class TestKept:
    """What comes back is what went in, whichever database it is."""

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("moment", datetime(2026, 11, 21, 23, 59, 59, 999_999, tzinfo=UTC)),
            ("moment", datetime(1970, 1, 1, tzinfo=UTC)),
            ("amount", Decimal("92233720368547758.07")),
            ("amount", Decimal("-0.01")),
            ("name", "Käse \N{GRINNING FACE} 'quoted' \\ %s :x"),
            ("name", ""),
        ],
    )
    async def test_value(self, database: Database, column: str, value: object) -> None:
        """To the microsecond, the hundredth and the character."""
        async with database.writing() as session:
            await session.execute(insert(things).values({column: value}))
        async with database.reading() as connection:
            assert await connection.scalar(select(things.c[column])) == value

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("amount", Decimal("92233720368547758.08")),
            ("amount", Decimal("1E+200000")),
            ("amount", Decimal("-9E+999999")),
            ("moment", datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))),
            ("moment", datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))),
        ],
    )
    async def test_what_is_too_large(self, database: Database, column: str, value: object) -> None:
        """It is who has sent it that is told."""
        with pytest.raises(BadRequest, match="too large"):
            async with database.writing() as session:
                await session.execute(insert(things).values({column: value}))

    async def test_text_is_sorted_by_code_point(self, database: Database) -> None:
        """As Python sorts it: no language, no case, no space is passed over."""
        names = ["b", "B", "a", "a ", "a\t", "aa", "", "Ä", "ä", "z", "\uffee", "\U0001f600", "_"]
        async with database.writing() as session:
            await session.execute(insert(things), [{"name": name} for name in names])
        async with database.reading() as connection:
            statement = select(things.c.name).order_by(things.c.name)
            assert list(await connection.scalars(statement)) == sorted(names)
            statement = statement.where(things.c.name == "a")
            assert list(await connection.scalars(statement)) == ["a"]

    async def test_case_makes_a_difference(self, database: Database) -> None:
        """To a unique column too."""
        codes = ["a", "A", "a ", "ä"]
        async with database.writing() as session:
            await session.execute(insert(things), [{"code": code} for code in codes])
        async with database.reading() as connection:
            assert set(await connection.scalars(select(things.c.code))) == set(codes)

    async def test_no_number_is_given_twice(self, database: Database) -> None:
        """Who still has the number of a deleted row does not find another one there."""
        async with database.writing() as session:
            first = await session.execute(insert(things).values(name="first"))
            await session.execute(delete(things))
            second = await session.execute(insert(things).values(name="second"))
        assert numbers_of(first) != numbers_of(second)


class TestBase:
    def test_bases_of_ones_own(self) -> None:
        """A slice may put common columns into an abstract base."""

        class Stamped(Base):
            __abstract__ = True

            @declared_attr
            def stamped_at(self) -> Mapped[datetime]:
                return mapped_column(UtcDateTime)

        assert Stamped.__abstract__


class TestHundredths:
    @given(st.decimals(-(10**12), 10**12, places=2))
    def test_are_exact(self, amount: Decimal) -> None:
        """Whatever goes in comes out."""
        kept = Hundredths().process_bind_param(amount, DIALECT)
        assert Hundredths().process_result_value(kept, DIALECT) == amount

    @pytest.mark.parametrize(
        ("amount", "said"),
        [
            ("0.005", "round it first"),
            ("1.00000000000000000000000000001", "round it first"),
            ("NaN", "is no amount"),
            ("sNaN", "is no amount"),
            ("Infinity", "is no amount"),
        ],
    )
    def test_lose_nothing_in_silence(self, amount: str, said: str) -> None:
        """A third place is an error of who computed it."""
        with pytest.raises(ValueError, match=said):
            Hundredths().process_bind_param(Decimal(amount), DIALECT)


class TestUtcDateTime:
    def test_is_one_moment_in_any_zone(self) -> None:
        """Kept in UTC."""
        moment = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=3)))
        kept = UtcDateTime().process_bind_param(moment, DIALECT)
        assert kept == moment
        assert kept.tzinfo is UTC

    def test_needs_a_zone(self) -> None:
        """A time without one is a guess."""
        with pytest.raises(ValueError, match="zone"):
            UtcDateTime().process_bind_param(datetime(2026, 1, 1), DIALECT)  # noqa: DTZ001
