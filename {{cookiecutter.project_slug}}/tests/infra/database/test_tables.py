"""What tables are declared with."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from app.infra.database import Base, Hundredths, UtcDateTime

DIALECT = sqlite.dialect()


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

    def test_lose_nothing_in_silence(self) -> None:
        """A third place is an error of who computed it."""
        with pytest.raises(ValueError, match="round it first"):
            Hundredths().process_bind_param(Decimal("0.005"), DIALECT)


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
