"""Ratings: counted in the background, since no index tells whose reviews are best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pydantic import BaseModel

from app.infra.tasks import Run

_BATCH_PRODUCTS = 5_000


@dataclass(frozen=True, slots=True)
class Rating:
    """What was counted for a product that has reviews."""

    product_id: int
    name: str
    reviews: int
    rating_sum: int
    counted_at: datetime


class RatingStore(Protocol):
    """Where ratings are kept. All of it may raise `TryAgain`."""

    async def recount(self, after_id: int, limit: int, now: datetime) -> int | None:
        """Count for the next `limit` products after that id; the last one's id, None at the end."""

    async def top(self, limit: int) -> Sequence[Rating]:
        """By average, then by the number of reviews, then by id; the greatest first."""


class RatedProduct(BaseModel):
    product_id: int
    name: str
    reviews: int
    rating_average: float
    """Mean of the stars, to two decimal places."""


class TopRated(BaseModel):
    """Products with reviews: the best average first, then the most reviews, then the newest."""

    counted_at: datetime | None
    """Reviews are counted every five minutes; null while none is."""
    items: list[RatedProduct]


class Ratings:
    """What can be done with ratings."""

    def __init__(
        self,
        store: RatingStore,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._clock = clock

    async def recount(self, run: Run) -> None:
        """Count the reviews of all products, in short units of work."""
        last_id: int | None = run.checkpoint or 0
        while last_id is not None:
            last_id = await self._store.recount(last_id, _BATCH_PRODUCTS, self._clock())
            if last_id is not None:
                await run.save(last_id)

    async def top(self, limit: int) -> TopRated:
        """The best products, as of the last count."""
        ratings = await self._store.top(limit)
        items = [
            RatedProduct(
                product_id=rating.product_id,
                name=rating.name,
                reviews=rating.reviews,
                rating_average=round(rating.rating_sum / rating.reviews, 2),
            )
            for rating in ratings
        ]
        # None of them is older.
        counted_at = min((rating.counted_at for rating in ratings), default=None)
        return TopRated(counted_at=counted_at, items=items)
