"""The rules of the catalogue.

Each method is one unit of work: it is committed, or undone, before its caller sees the result.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Protocol

from pydantic import TypeAdapter

from app.catalog.schemas import (
    LATEST_REVIEWS,
    PRODUCT_FIELDS,
    CurrencyStatistics,
    PageQuery,
    PartialProduct,
    Product,
    ProductChanges,
    ProductDraft,
    ProductField,
    ProductPage,
    ProductQuery,
    Review,
    ReviewDraft,
    ReviewPage,
    Statistics,
)
from app.errors import Conflict, NotFound, Unavailable
from app.infra.http.etags import require_match
from app.infra.http.pages import Cursors
from app.infra.units import unit_of_work

_EXPORT_BATCH_ROWS = 500
_RECENT = timedelta(days=30)
# Cursors carry JSON; these bring their sort keys back.
_SORT_KEYS: dict[str, TypeAdapter[Any]] = {
    "created_at": TypeAdapter(datetime),
    "name": TypeAdapter(str),
    "price": TypeAdapter(Decimal),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """A page of products as a store looks it up."""

    sort: str
    """Column to sort by; ties are broken by id in the same direction."""
    descending: bool
    limit: int
    """Rows, at most."""
    after: tuple[Any, int] | None = None
    """Sort key and id of the last row before the page."""
    currency: str | None = None
    price_min: Decimal | None = None
    price_max: Decimal | None = None
    name_prefix: str | None = None
    fields: Sequence[ProductField] = PRODUCT_FIELDS
    """What to read; the sort key and the id are read besides."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over the products that are priced in `currency`."""

    currency: str
    products: int
    recent_products: int
    price_minimum: Decimal
    price_sum: Decimal
    price_maximum: Decimal
    reviews: int
    rating_sum: int


class Reader(Protocol):
    """What the catalogue asks of a store. Products and reviews that do not exist are None."""

    async def product(self, product_id: int) -> Product | None: ...

    async def products_by_id(
        self, ids: Sequence[int], fields: Sequence[ProductField]
    ) -> list[PartialProduct]:
        """Those of `ids` that exist, in any order."""

    async def select(self, selection: Selection) -> list[PartialProduct]: ...

    async def latest_reviews(self, product_ids: Sequence[int], limit: int) -> list[Review]:
        """The newest reviews of each product, `limit` for each, newest first."""

    async def reviews(self, product_id: int, *, before_id: int | None, limit: int) -> list[Review]:
        """Reviews of a product, newest first."""

    async def review(self, product_id: int, review_id: int) -> Review | None: ...

    async def products_after(self, product_id: int, limit: int) -> list[Product]:
        """The next products by id."""

    async def figures(self, recent_since: datetime) -> Sequence[Figures]:
        """Sums by currency, in the order of their codes."""


class Writer(Protocol):
    """One unit of work on a store.

    A `sku` that another product has raises `Conflict`; nothing of the unit is kept then.
    """

    async def product(self, product_id: int) -> Product | None: ...

    async def product_to_change(self, product_id: int) -> Product | None:
        """The product, which nobody else changes before the unit of work has ended."""

    async def add(self, draft: ProductDraft, now: datetime) -> Product: ...

    async def add_all(self, drafts: Sequence[ProductDraft], now: datetime) -> list[int]:
        """Ids in the order of `drafts`."""

    async def put_all(self, drafts: Sequence[ProductDraft], now: datetime) -> list[int]:
        """Add `drafts`, or replace the products that have their skus; ids in the same order.

        No sku stands there twice.
        """

    async def change(self, product_id: int, changes: Mapping[str, Any], now: datetime) -> Product:
        """Apply `changes` to a product that exists and count its version up."""

    async def remove(self, product_id: int) -> None:
        """Remove a product that exists, and its reviews."""

    async def add_review(self, product_id: int, draft: ReviewDraft, now: datetime) -> Review: ...


class Store(Protocol):
    """Where products are kept.

    All of it may raise `TryAgain`, when somebody else was in the way.
    """

    async def load(self, product_id: int) -> Product | None:
        """One product by itself, whose reading may be merged with that of others."""

    async def add(self, draft: ProductDraft, now: datetime) -> Product:
        """Add one product by itself: a unit of work; raises `Conflict` as `Writer.add` does."""

    def reading(self) -> AbstractAsyncContextManager[Reader]: ...

    def writing(self) -> AbstractAsyncContextManager[Writer]: ...


class Catalog:
    """What can be done with products."""

    def __init__(
        self,
        store: Store,
        cursors: Cursors,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._cursors = cursors
        self._clock = clock

    @unit_of_work
    async def get(self, product_id: int) -> Product:
        """Raises `NotFound`."""
        return _found(await self._store.load(product_id), product_id)

    @unit_of_work
    async def page(self, query: ProductQuery) -> ProductPage:
        """One page of products; two statements with their reviews, however long it is.

        Raises:
            BadRequest: the cursor does not belong to this order.
        """
        fields = query.fields or PRODUCT_FIELDS
        async with self._store.reading() as reader:
            if query.ids is not None:
                items = await _in_order(reader, query.ids, fields)
                next_cursor = None
            else:
                selection = self._selection(query, fields)
                # One row more than asked for tells whether there is a next page.
                items = await reader.select(replace(selection, limit=query.limit + 1))
                next_cursor = self._product_cursor(items, query)
                items = items[: query.limit]
            if query.include == "reviews":
                await _add_latest_reviews(reader, items)
        return ProductPage(items=items, next_cursor=next_cursor)

    @unit_of_work
    async def create(self, draft: ProductDraft) -> Product:
        """Raises `Conflict` when another product has the sku."""
        return await self._store.add(draft, self._clock())

    @unit_of_work
    async def create_all(self, drafts: Sequence[ProductDraft]) -> list[int]:
        """All of `drafts` or none; raises `Conflict` when another product has one of the skus."""
        async with self._store.writing() as writer:
            return await writer.add_all(drafts, self._clock())

    @unit_of_work
    async def put_all(self, drafts: Sequence[ProductDraft]) -> list[int]:
        """Add each of `drafts`, or replace the product with its sku: all of them or none.

        Raises:
            Conflict: a sku stands there twice.
        """
        if len({draft.sku for draft in drafts}) < len(drafts):
            raise Conflict("A sku stands in the list twice; send each product once.")
        async with self._store.writing() as writer:
            return await writer.put_all(drafts, self._clock())

    async def replace(self, product_id: int, draft: ProductDraft, if_match: str | None) -> Product:
        """Raises `NotFound`, `PreconditionFailed` and `Conflict`."""
        return await self._change(product_id, draft.model_dump(), if_match)

    async def change(
        self, product_id: int, changes: ProductChanges, if_match: str | None
    ) -> Product:
        """Raises `NotFound`, `PreconditionFailed` and `Conflict`."""
        return await self._change(product_id, changes.model_dump(exclude_unset=True), if_match)

    @unit_of_work
    async def remove(self, product_id: int, if_match: str | None) -> None:
        """Raises `NotFound` and `PreconditionFailed`."""
        async with self._store.writing() as writer:
            product = _found(await writer.product_to_change(product_id), product_id)
            require_match(if_match, product.version)
            await writer.remove(product_id)

    @unit_of_work
    async def add_review(self, product_id: int, draft: ReviewDraft) -> Review:
        """Raises `NotFound`."""
        async with self._store.writing() as writer:
            _found(await writer.product(product_id), product_id)
            return await writer.add_review(product_id, draft, self._clock())

    @unit_of_work
    async def review(self, product_id: int, review_id: int) -> Review:
        """Raises `NotFound`."""
        async with self._store.reading() as reader:
            review = await reader.review(product_id, review_id)
        if review is None:
            raise NotFound(f"Product {product_id} has no review {review_id}.")
        return review

    @unit_of_work
    async def reviews(self, product_id: int, query: PageQuery) -> ReviewPage:
        """Raises `NotFound`, and `BadRequest` for a cursor of another listing."""
        order = f"reviews of {product_id}"
        before_id = self._cursors.decode(order, query.cursor)[1] if query.cursor else None
        async with self._store.reading() as reader:
            items = await reader.reviews(product_id, before_id=before_id, limit=query.limit + 1)
            if not items:
                _found(await reader.product(product_id), product_id)
        next_cursor = None
        if len(items) > query.limit:
            last_id = items[query.limit - 1].id
            next_cursor = self._cursors.encode(order, last_id, last_id)
        return ReviewPage(items=items[: query.limit], next_cursor=next_cursor)

    @unit_of_work
    async def statistics(self) -> Statistics:
        """Figures of the whole catalogue, in one statement."""
        async with self._store.reading() as reader:
            figures = await reader.figures(self._clock() - _RECENT)
        reviews = sum(row.reviews for row in figures)
        return Statistics(
            products=sum(row.products for row in figures),
            reviews=reviews,
            rating_average=_mean(sum(row.rating_sum for row in figures), reviews),
            currencies=[_statistics(row) for row in figures],
        )

    async def export(self) -> AsyncIterator[list[Product]]:
        """Every product by id, batch by batch, in memory that does not grow.

        No connection is held between two batches, so that a slow client keeps none from others.
        """
        last_id = 0
        while True:
            batch = await self._export_batch(last_id)
            if not batch:
                return
            yield batch
            last_id = batch[-1].id

    async def _export_batch(self, last_id: int) -> list[Product]:
        """A response that has begun cannot turn into a 503, so that a busy moment is waited out."""
        for pause_seconds in (0.1, 0.5, 2.0):
            try:
                return await self._read_after(last_id)
            except Unavailable:
                await asyncio.sleep(pause_seconds)
        return await self._read_after(last_id)

    @unit_of_work
    async def _read_after(self, last_id: int) -> list[Product]:
        async with self._store.reading() as reader:
            return await reader.products_after(last_id, _EXPORT_BATCH_ROWS)

    @unit_of_work
    async def _change(
        self, product_id: int, changes: Mapping[str, Any], if_match: str | None
    ) -> Product:
        async with self._store.writing() as writer:
            product = _found(await writer.product_to_change(product_id), product_id)
            require_match(if_match, product.version)
            return await writer.change(product_id, changes, self._clock())

    def _selection(self, query: ProductQuery, fields: Sequence[ProductField]) -> Selection:
        sort = query.sort.removeprefix("-")
        after = None
        if query.cursor:
            sort_key, last_id = self._cursors.decode(f"products by {query.sort}", query.cursor)
            after = (_SORT_KEYS[sort].validate_python(sort_key), last_id)
        return Selection(
            sort=sort,
            descending=query.sort.startswith("-"),
            limit=query.limit,
            after=after,
            currency=query.currency,
            price_min=query.price_min,
            price_max=query.price_max,
            name_prefix=query.name_prefix,
            fields=fields,
        )

    def _product_cursor(self, items: Sequence[Product], query: ProductQuery) -> str | None:
        if len(items) <= query.limit:
            return None
        last = items[query.limit - 1]
        sort = query.sort.removeprefix("-")
        sort_key = _SORT_KEYS[sort].dump_python(getattr(last, sort), mode="json")
        return self._cursors.encode(f"products by {query.sort}", sort_key, last.id)


def _found(product: Product | None, product_id: int) -> Product:
    if product is None:
        raise NotFound(f"There is no product {product_id}.")
    return product


async def _in_order(
    reader: Reader, ids: Sequence[int], fields: Sequence[ProductField]
) -> list[PartialProduct]:
    products = {product.id: product for product in await reader.products_by_id(ids, fields)}
    return [products[product_id] for product_id in dict.fromkeys(ids) if product_id in products]


async def _add_latest_reviews(reader: Reader, products: Sequence[Product]) -> None:
    reviews = await reader.latest_reviews([product.id for product in products], LATEST_REVIEWS)
    by_product: defaultdict[int, list[Review]] = defaultdict(list)
    for review in reviews:
        by_product[review.product_id].append(review)
    for product in products:
        product.latest_reviews = by_product[product.id]


def _statistics(figures: Figures) -> CurrencyStatistics:
    average = figures.price_sum / figures.products
    return CurrencyStatistics(
        currency=figures.currency,
        products=figures.products,
        products_last_30_days=figures.recent_products,
        price_minimum=figures.price_minimum,
        price_average=average.quantize(Decimal("0.01"), ROUND_HALF_UP),
        price_maximum=figures.price_maximum,
        reviews=figures.reviews,
        rating_average=_mean(figures.rating_sum, figures.reviews),
    )


def _mean(total: int, count: int) -> float | None:
    return round(total / count, 2) if count else None
