"""Ratings in the database, counted by it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKey,
    Index,
    Select,
    Table,
    delete,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy import cast as as_type
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from app.catalog.models import ProductRow, ReviewRow
from app.catalog.ratings import Rating
from app.errors import TryAgain
from app.infra.database import Base, Database, UtcDateTime
from app.infra.units import unit_of_work


class ProductRatingRow(Base):
    __tablename__ = "product_rating"

    product_id: Mapped[int] = mapped_column(
        BigInteger,
        ForeignKey("product.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )
    reviews: Mapped[int] = mapped_column()
    rating_sum: Mapped[int] = mapped_column(BigInteger)
    rating_average: Mapped[float] = mapped_column(Double)
    counted_at: Mapped[datetime] = mapped_column(UtcDateTime)

    # Read backwards, it is the order of the best.
    __table_args__ = (Index(None, "rating_average", "reviews", "product_id"),)


_table = cast("Table", ProductRatingRow.__table__)
_ratings = _table.c
_products = ProductRow.__table__.c
_reviews = ReviewRow.__table__.c


class DatabaseRatings:
    """A `RatingStore` in the table `product_rating`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @unit_of_work
    async def recount(self, after_id: int, limit: int, now: datetime) -> int | None:
        following = select(_products.id).where(_products.id > after_id).order_by(_products.id)
        batch = following.limit(limit).subquery()
        async with self._database.writing() as session:
            last_id: int | None = await session.scalar(select(func.max(batch.c.id)))
            if last_id is None:
                return None
            await session.execute(
                delete(_table).where(_ratings.product_id > after_id, _ratings.product_id <= last_id)
            )
            try:
                await session.execute(_count(after_id, last_id, now))
            except IntegrityError as error:
                raise TryAgain("Somebody else counted, or removed a product; try again.") from error
        return last_id

    @unit_of_work
    async def top(self, limit: int) -> Sequence[Rating]:
        best = best_statement(limit).subquery()
        columns = (best.c.product_id, _products.name)
        figures = (best.c.reviews, best.c.rating_sum, best.c.counted_at)
        statement = (
            select(*columns, *figures)
            .join_from(best, ProductRow.__table__, _products.id == best.c.product_id)
            .order_by(*_best_first(best.c))
        )
        async with self._database.reading() as connection:
            rows = await connection.execute(statement)
            return [Rating(**row) for row in rows.mappings()]


def best_statement(limit: int) -> Select[Any]:
    """The best ratings: the end of their index, read backwards."""
    return select(*_ratings).order_by(*_best_first(_ratings)).limit(limit)


def _best_first(ratings: Any) -> Sequence[Any]:
    return ratings.rating_average.desc(), ratings.reviews.desc(), ratings.product_id.desc()


def _count(after_id: int, last_id: int, now: datetime) -> Any:
    rating_sum = func.sum(_reviews.rating)
    counted = (
        select(
            _reviews.product_id,
            func.count(),
            rating_sum,
            # As Python would divide: some databases round to four places otherwise.
            as_type(rating_sum, Double) / func.count(),
            literal(now, UtcDateTime),
        )
        .where(_reviews.product_id > after_id, _reviews.product_id <= last_id)
        .group_by(_reviews.product_id)
    )
    columns = ["product_id", "reviews", "rating_sum", "rating_average", "counted_at"]
    return insert(_table).from_select(columns, counted)
