"""What slices declare their tables with: types that mean the same on every database."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, MetaData, String
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

_HUNDREDTH = Decimal("0.01")
_LARGEST_POWER = 16
"""Of ten, in an amount: 2**63 hundredths are less than ten times as much."""


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
            raise ValueError("a time needs its zone; use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        # Some databases keep no zone, and then it is UTC that was written.
        aware: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware if aware.tzinfo is UTC else aware.astimezone(UTC)


class Hundredths(TypeDecorator[Decimal]):
    """A `Decimal` of two places, kept exactly as an integer of hundredths (at most 2**63 - 1).

    A third place is the mistake of who has computed or accepted it: schemas say `decimal_places=2`.
    """

    impl = BigInteger()
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        if value is None:
            return None
        if not value.is_finite():
            raise ValueError(f"{value} is no amount")
        if value.adjusted() > _LARGEST_POWER:  # before it is written out
            raise OverflowError("an amount is too large")
        rounded = value.quantize(_HUNDREDTH)
        if rounded != value:
            raise ValueError(f"{value} has more than two decimal places; round it first")
        return int(rounded.scaleb(2))

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        return None if value is None else Decimal(int(value)).scaleb(-2)
