"""Ratings in a dict, counted from a store of products; and the double of tables in tests."""

import heapq
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from app.catalog.ratings import Rating
from app.catalog.schemas import Product
from app.catalog.service import Reader, Store


class MemoryRatings:
    """A `RatingStore` of one process, gone when it ends."""

    def __init__(self, products: Store) -> None:
        self._products = products
        self._ratings: dict[int, Rating] = {}

    async def recount(self, after_id: int, limit: int, now: datetime) -> int | None:
        async with self._products.reading() as reader:
            products = await reader.products_after(after_id, limit)
            for product in products:
                await self._count(reader, product, now)
        return products[-1].id if products else None

    async def top(self, limit: int) -> Sequence[Rating]:
        async with self._products.reading() as reader:
            found = await reader.products_by_id(list(self._ratings), ["name"])
        kept = [replace(self._ratings[product.id], name=product.name) for product in found]
        return heapq.nlargest(limit, kept, key=_rank)

    async def _count(self, reader: Reader, product: Product, now: datetime) -> None:
        reviews = await reader.reviews(product.id, before_id=None, limit=sys.maxsize)
        if reviews:
            rating_sum = sum(review.rating for review in reviews)
            rating = Rating(product.id, product.name, len(reviews), rating_sum, now)
            self._ratings[product.id] = rating
        else:
            self._ratings.pop(product.id, None)


def _rank(rating: Rating) -> tuple[float, int, int]:
    return rating.rating_sum / rating.reviews, rating.reviews, rating.product_id
