"""What slices declare their tables with: types that mean the same on every database."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, MetaData, String
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator


class Base(DeclarativeBase):
    """Base of every model."""

    # Named constraints, so that a later revision can find and drop them.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Unfit(ValueError):
    """A value that its column cannot keep as it is."""


class Identity(BigInteger):
    """The number of a row, given by the database and to no other row again."""


class CodePoints(String):
    """Text that is sorted and compared by code point, as Python does, and not by a language."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware `datetime`, kept in UTC with microseconds."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise Unfit("A time needs its zone; say which one it is in.")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        # Some databases keep no zone, and then it is UTC that was written.
        aware: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware if aware.tzinfo is UTC else aware.astimezone(UTC)


class Hundredths(TypeDecorator[Decimal]):
    """A `Decimal` of two places, kept exactly as an integer of hundredths (at most 2**63 - 1)."""

    impl = BigInteger()
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        if value is None:
            return None
        hundredths = value.scaleb(2)
        if not value.is_finite() or hundredths != int(hundredths):
            raise Unfit("An amount has at most two decimal places; round it first.")
        return int(hundredths)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        return None if value is None else Decimal(int(value)).scaleb(-2)
