"""Products in dicts: a store of its own, and the double of others in tests.

One process, gone when it ends. A unit of work that fails is undone step by step.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

from app.catalog.schemas import (
    PartialProduct,
    Product,
    ProductDraft,
    ProductField,
    Review,
    ReviewDraft,
)
from app.catalog.service import Figures, Selection
from app.errors import Conflict


@dataclass
class _Tables:
    products: dict[int, Product] = field(default_factory=dict)
    ids_by_sku: dict[str, int] = field(default_factory=dict)
    reviews: dict[int, dict[int, Review]] = field(default_factory=lambda: defaultdict(dict))
    product_ids: Iterator[int] = field(default_factory=lambda: count(1))
    review_ids: Iterator[int] = field(default_factory=lambda: count(1))


class _Reads:
    def __init__(self, tables: _Tables) -> None:
        self._tables = tables

    async def product(self, product_id: int) -> Product | None:
        return self._tables.products.get(product_id)

    async def products_by_id(
        self, ids: Sequence[int], fields: Sequence[ProductField]
    ) -> list[PartialProduct]:
        products = self._tables.products
        return [_partial(products[key], fields) for key in set(ids) if key in products]

    async def select(self, selection: Selection) -> list[PartialProduct]:
        def key(product: Product) -> tuple[Any, int]:
            return getattr(product, selection.sort), product.id

        found = sorted(
            (row for row in self._tables.products.values() if _matches(row, selection)),
            key=key,
            reverse=selection.descending,
        )
        if (after := selection.after) is not None:
            down = selection.descending
            found = [row for row in found if (key(row) < after if down else key(row) > after)]
        return [_partial(row, selection.fields) for row in found[: selection.limit]]

    async def latest_reviews(self, product_ids: Sequence[int], limit: int) -> list[Review]:
        return [
            review
            for product_id in product_ids
            for review in self._newest_reviews(product_id)[:limit]
        ]

    async def reviews(self, product_id: int, *, before_id: int | None, limit: int) -> list[Review]:
        newest = self._newest_reviews(product_id)
        return [row for row in newest if before_id is None or row.id < before_id][:limit]

    async def review(self, product_id: int, review_id: int) -> Review | None:
        return self._tables.reviews.get(product_id, {}).get(review_id)

    async def products_after(self, product_id: int, limit: int) -> list[Product]:
        products = self._tables.products
        return [products[key] for key in sorted(key for key in products if key > product_id)][
            :limit
        ]

    async def figures(self, recent_since: datetime) -> list[Figures]:
        by_currency: dict[str, list[Product]] = defaultdict(list)
        for product in self._tables.products.values():
            by_currency[product.currency].append(product)
        return [
            self._sums(currency, products, recent_since)
            for currency, products in sorted(by_currency.items())
        ]

    def _sums(self, currency: str, products: list[Product], recent_since: datetime) -> Figures:
        prices = [product.price for product in products]
        ratings = [
            review.rating for product in products for review in self._newest_reviews(product.id)
        ]
        return Figures(
            currency=currency,
            products=len(products),
            recent_products=sum(product.created_at >= recent_since for product in products),
            price_minimum=min(prices),
            price_sum=sum(prices, start=type(prices[0])(0)),
            price_maximum=max(prices),
            reviews=len(ratings),
            rating_sum=sum(ratings),
        )

    def _newest_reviews(self, product_id: int) -> list[Review]:
        return list(reversed(self._tables.reviews.get(product_id, {}).values()))


class _Writes:
    def __init__(self, tables: _Tables) -> None:
        self._tables = tables
        self._undo: list[Callable[[], object]] = []

    def undo(self) -> None:
        for step in reversed(self._undo):
            step()

    async def product(self, product_id: int) -> Product | None:
        return self._tables.products.get(product_id)

    async def product_to_change(self, product_id: int) -> Product | None:
        return await self.product(product_id)

    async def add(self, draft: ProductDraft, now: datetime) -> Product:
        product_id = next(self._tables.product_ids)
        product = Product(
            id=product_id, version=1, created_at=now, updated_at=now, **draft.model_dump()
        )
        self._put(product)
        return product

    async def add_all(self, drafts: Sequence[ProductDraft], now: datetime) -> list[int]:
        return [(await self.add(draft, now)).id for draft in drafts]

    async def put_all(self, drafts: Sequence[ProductDraft], now: datetime) -> list[int]:
        return [await self._put_draft(draft, now) for draft in drafts]

    async def change(self, product_id: int, changes: Mapping[str, Any], now: datetime) -> Product:
        before = self._tables.products[product_id]
        changed = before.model_copy(
            update={**changes, "version": before.version + 1, "updated_at": now}
        )
        self._take(before)
        self._put(changed)
        return changed

    async def remove(self, product_id: int) -> None:
        self._take(self._tables.products[product_id])
        reviews = self._tables.reviews.pop(product_id, {})
        self._undo.append(lambda: self._tables.reviews.update({product_id: reviews}))

    async def add_review(self, product_id: int, draft: ReviewDraft, now: datetime) -> Review:
        review = Review(
            id=next(self._tables.review_ids),
            product_id=product_id,
            created_at=now,
            **draft.model_dump(),
        )
        self._tables.reviews[product_id][review.id] = review
        self._undo.append(lambda: self._tables.reviews[product_id].pop(review.id))
        return review

    async def _put_draft(self, draft: ProductDraft, now: datetime) -> int:
        product_id = self._tables.ids_by_sku.get(draft.sku)
        if product_id is None:
            return (await self.add(draft, now)).id
        return (await self.change(product_id, draft.model_dump(), now)).id

    def _put(self, product: Product) -> None:
        if product.sku in self._tables.ids_by_sku:
            raise Conflict(f"Another product has the sku {product.sku!r}; choose another.")
        self._tables.products[product.id] = product
        self._tables.ids_by_sku[product.sku] = product.id
        self._undo.append(lambda: self._forget(product))

    def _take(self, product: Product) -> None:
        self._forget(product)
        self._undo.append(lambda: self._tables.products.update({product.id: product}))
        self._undo.append(lambda: self._tables.ids_by_sku.update({product.sku: product.id}))

    def _forget(self, product: Product) -> None:
        del self._tables.products[product.id]
        del self._tables.ids_by_sku[product.sku]


class MemoryStore:
    """A `Store` whose methods never wait, so that each unit of work runs in one piece."""

    def __init__(self) -> None:
        self._tables = _Tables()

    async def load(self, product_id: int) -> Product | None:
        return self._tables.products.get(product_id)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[_Reads]:
        yield _Reads(self._tables)

    async def add(self, draft: ProductDraft, now: datetime) -> Product:
        async with self.writing() as writes:
            return await writes.add(draft, now)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[_Writes]:
        writes = _Writes(self._tables)
        try:
            yield writes
        except BaseException:
            writes.undo()
            raise


def _matches(product: Product, selection: Selection) -> bool:
    return (
        (selection.currency is None or product.currency == selection.currency)
        and (selection.price_min is None or product.price >= selection.price_min)
        and (selection.price_max is None or product.price <= selection.price_max)
        and product.name.startswith(selection.name_prefix or "")
    )


def _partial(product: Product, fields: Iterable[ProductField]) -> PartialProduct:
    """A copy of which only `fields` are sent."""
    return PartialProduct.model_construct(_fields_set=set(fields), **dict(product))
