"""Products in the database: one statement for each question, whatever it returns."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CursorResult,
    Select,
    Table,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
)
from sqlalchemy import cast as as_type
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm.exc import StaleDataError

from app.catalog.models import ProductRow, ReviewRow
from app.catalog.schemas import (
    PRODUCT_FIELDS,
    PartialProduct,
    Product,
    ProductDraft,
    ProductField,
    Review,
    ReviewDraft,
)
from app.catalog.service import Figures, Selection
from app.errors import Conflict, NotFound, PreconditionFailed
from app.infra.database import Database, Dialect

Shape = TypeVar("Shape", bound=Product)

_table = cast("Table", ProductRow.__table__)
_products = _table.c
_reviews = ReviewRow.__table__.c


def _columns(fields: Iterable[str]) -> list[ColumnElement[Any]]:
    return [_products[name] for name in sorted(fields)]


_EVERYTHING = select(*_columns(PRODUCT_FIELDS))
# Made once: making it anew took an eighth of the time of a request.
_ONE = _EVERYTHING.where(_products.id == bindparam("product_id"))


class DatabaseStore:
    """A `Store` on the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._load = database.merged(self._load_one, self._load_many)

    async def load(self, product_id: int) -> Product | None:
        return await self._load(product_id)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["Reads"]:
        async with self._database.reading() as connection:
            yield Reads(connection)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator["Writes"]:
        async with self._database.writing() as session:
            yield Writes(session, self._database.dialect)

    async def _load_one(self, product_id: int) -> Product | None:
        async with self.reading() as reader:
            return await reader.product(product_id)

    async def _load_many(self, product_ids: Sequence[int]) -> dict[int, Product]:
        async with self.reading() as reader:
            products = await reader.products_by_id(product_ids, PRODUCT_FIELDS)
        return {product.id: product for product in products}


class Reads:
    """Plain statements on one connection, without the bookkeeping of a session."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def product(self, product_id: int) -> Product | None:
        found = await self._products(
            Product.model_construct, _ONE, PRODUCT_FIELDS, {"product_id": product_id}
        )
        return found[0] if found else None

    async def products_by_id(
        self, ids: Sequence[int], fields: Sequence[ProductField]
    ) -> list[PartialProduct]:
        statement = select(*_columns({"id", *fields})).where(_products.id.in_(ids))
        return await self._products(PartialProduct.model_construct, statement, fields)

    async def select(self, selection: Selection) -> list[PartialProduct]:
        statement = page_statement(selection)
        return await self._products(PartialProduct.model_construct, statement, selection.fields)

    async def products_after(self, product_id: int, limit: int) -> list[Product]:
        statement = _EVERYTHING.where(_products.id > product_id)
        statement = statement.order_by(_products.id).limit(limit)
        return await self._products(Product.model_construct, statement, PRODUCT_FIELDS)

    async def latest_reviews(self, product_ids: Sequence[int], limit: int) -> list[Review]:
        newest = func.row_number().over(
            partition_by=_reviews.product_id, order_by=_reviews.id.desc()
        )
        ranked = (
            select(*_reviews, newest.label("position"))
            .where(_reviews.product_id.in_(product_ids))
            .subquery()
        )
        columns = [ranked.c[column.name] for column in _reviews]
        statement = (
            select(*columns)
            .where(ranked.c.position <= limit)
            .order_by(ranked.c.product_id, ranked.c.id.desc())
        )
        return _as_reviews(await self._connection.execute(statement))

    async def reviews(self, product_id: int, *, before_id: int | None, limit: int) -> list[Review]:
        return _as_reviews(
            await self._connection.execute(reviews_statement(product_id, before_id, limit))
        )

    async def review(self, product_id: int, review_id: int) -> Review | None:
        statement = select(*_reviews).where(
            _reviews.id == review_id, _reviews.product_id == product_id
        )
        found = _as_reviews(await self._connection.execute(statement))
        return found[0] if found else None

    async def figures(self, recent_since: datetime) -> list[Figures]:
        by_product = (
            select(
                _reviews.product_id,
                func.count().label("reviews"),
                func.sum(_reviews.rating).label("rating_sum"),
            )
            .group_by(_reviews.product_id)
            .subquery()
        )
        statement = (
            select(
                _products.currency,
                func.count().label("products"),
                func.count(case((_products.created_at >= recent_since, 1))).label(
                    "recent_products"
                ),
                func.min(_products.price).label("price_minimum"),
                func.sum(_products.price).label("price_sum"),
                func.max(_products.price).label("price_maximum"),
                _total(by_product.c.reviews).label("reviews"),
                _total(by_product.c.rating_sum).label("rating_sum"),
            )
            .outerjoin_from(_table, by_product, by_product.c.product_id == _products.id)
            .group_by(_products.currency)
            .order_by(_products.currency)
        )
        rows = await self._connection.execute(statement)
        return [Figures(**row) for row in rows.mappings()]

    async def _products(
        self,
        construct: Callable[..., Shape],
        statement: Select[Any],
        fields: Sequence[ProductField],
        parameters: Mapping[str, Any] | None = None,
    ) -> list[Shape]:
        rows = await self._connection.execute(statement, parameters)
        return [construct(_fields_set=set(fields), **row) for row in rows.mappings()]


class Writes:
    """One unit of work; what it changes is written as it goes and committed by its owner."""

    def __init__(self, session: AsyncSession, dialect: Dialect) -> None:
        self._session = session
        self._dialect = dialect
        # The session forgets rows that nobody holds, and would read them again.
        self._held: list[ProductRow | None] = []

    async def product(self, product_id: int) -> Product | None:
        row = await self._session.get(ProductRow, product_id)
        self._held.append(row)
        return None if row is None else _as_product(row)

    async def add(self, draft: ProductDraft, now: datetime) -> Product:
        row = ProductRow(**draft.model_dump(), created_at=now, updated_at=now)
        self._session.add(row)
        await self._flush()
        return _as_product(row)

    async def add_all(self, drafts: Sequence[ProductDraft], now: datetime) -> list[int]:
        try:
            return await self._dialect.insert_all(
                self._session, _table, _rows(drafts, now), key="sku"
            )
        except IntegrityError as error:
            raise _sku_is_taken() from error

    async def put_all(self, drafts: Sequence[ProductDraft], now: datetime) -> list[int]:
        changes = [*ProductDraft.model_fields, "updated_at"]
        return await self._dialect.upsert_all(
            self._session, _table, _rows(drafts, now), key="sku", changes=changes
        )

    async def change(self, product_id: int, changes: Mapping[str, Any], now: datetime) -> Product:
        row = await self._session.get_one(ProductRow, product_id)
        for name, value in changes.items():
            setattr(row, name, value)
        row.updated_at = now
        await self._flush()
        return _as_product(row)

    async def remove(self, product_id: int) -> None:
        await self._session.delete(await self._session.get_one(ProductRow, product_id))
        await self._flush()

    async def add_review(self, product_id: int, draft: ReviewDraft, now: datetime) -> Review:
        row = ReviewRow(product_id=product_id, created_at=now, **draft.model_dump())
        self._session.add(row)
        try:
            await self._session.flush()
        except IntegrityError as error:
            raise NotFound(f"There is no product {product_id} any more.") from error
        return Review.model_validate(row, from_attributes=True)

    async def _flush(self) -> None:
        try:
            await self._session.flush()
        except IntegrityError as error:
            raise _sku_is_taken() from error
        except StaleDataError as error:
            raise PreconditionFailed(
                "The product was changed at the same moment; read it again and repeat the change."
            ) from error


def page_statement(selection: Selection) -> Select[Any]:
    """A page by keyset: the index of its order is entered where the last page ended."""
    column = _products[selection.sort]
    statement = select(*_columns({"id", selection.sort, *selection.fields}))
    if selection.currency is not None:
        statement = statement.where(_products.currency == selection.currency)
    if selection.price_min is not None:
        statement = statement.where(_products.price >= selection.price_min)
    if selection.price_max is not None:
        statement = statement.where(_products.price <= selection.price_max)
    if selection.name_prefix is not None:
        statement = statement.where(_starts_with(_products.name, selection.name_prefix))
    if selection.descending:
        order = (column.desc(), _products.id.desc())
    else:
        order = (column.asc(), _products.id.asc())
    if selection.after is not None:
        sort_key, last_id = selection.after
        # The first condition alone bounds the index; no database does that for `a OR (b AND c)`.
        if selection.descending:
            statement = statement.where(
                column <= sort_key, or_(column < sort_key, _products.id < last_id)
            )
        else:
            statement = statement.where(
                column >= sort_key, or_(column > sort_key, _products.id > last_id)
            )
    return statement.order_by(*order).limit(selection.limit)


def reviews_statement(product_id: int, before_id: int | None, limit: int) -> Select[Any]:
    """Reviews of a product, newest first."""
    statement = select(*_reviews).where(_reviews.product_id == product_id)
    if before_id is not None:
        statement = statement.where(_reviews.id < before_id)
    return statement.order_by(_reviews.id.desc()).limit(limit)


def _starts_with(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """By code point, as the index is sorted; LIKE would fold case on some databases."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return column >= prefix
    following = ord(stem[-1]) + 1
    # Surrogates are no characters and cannot be sent.
    successor = stem[:-1] + chr(0xE000 if following == 0xD800 else following)
    return and_(column >= prefix, column < successor)


def _total(column: ColumnElement[int]) -> ColumnElement[int]:
    """As an integer: some databases make a decimal number of it."""
    return as_type(func.coalesce(func.sum(column), 0), BigInteger)


def _rows(drafts: Sequence[ProductDraft], now: datetime) -> list[dict[str, Any]]:
    return [
        {**draft.model_dump(), "version": 1, "created_at": now, "updated_at": now}
        for draft in drafts
    ]


def _as_product(row: ProductRow) -> Product:
    return Product.model_construct(
        _fields_set=set(PRODUCT_FIELDS), **{name: getattr(row, name) for name in PRODUCT_FIELDS}
    )


def _as_reviews(rows: CursorResult[Any]) -> list[Review]:
    return [Review.model_construct(**row) for row in rows.mappings()]


def _sku_is_taken() -> Conflict:
    return Conflict("Another product has this sku; choose another.")
