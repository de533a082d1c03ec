"""Products in the database: one statement for each question, whatever it returns."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CursorResult,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy import cast as as_type
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
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
from app.errors import Conflict, NotFound, TryAgain
from app.infra.database import Database, Dialect, Prepared

Shape = TypeVar("Shape", bound=Product)

_table = cast("Table", ProductRow.__table__)
_products = _table.c
_reviews = ReviewRow.__table__.c


def _in_order(fields: Collection[str]) -> list[ProductField]:
    """As they are declared, and sent."""
    return [name for name in PRODUCT_FIELDS if name in fields]


def _columns(fields: Collection[str]) -> list[ColumnElement[Any]]:
    return [_products[name] for name in _in_order(fields)]


_EVERYTHING = select(*_columns(PRODUCT_FIELDS))
_ONE = Prepared(_EVERYTHING.where(_products.id == bindparam("product_id")))
_NEXT = Prepared(
    _EVERYTHING.where(_products.id > bindparam("product_id"))
    .order_by(_products.id)
    .limit(bindparam("limit", type_=Integer))
)


_NEW = ("version", *ProductDraft.model_fields, "created_at", "updated_at")
_INSERT = Prepared(insert(_table).returning(_products.id), _NEW)


class DatabaseStore:
    """A `Store` on the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._load = database.merged(self._load_one, self._load_many)

    async def load(self, product_id: int) -> Product | None:
        return await self._load(product_id)

    async def add(self, draft: ProductDraft, now: datetime) -> Product:
        if not self._database.dialect.has_returning:
            async with self.writing() as writer:
                return await writer.add(draft, now)
        [values] = _rows([draft], now)
        [[product_id]] = await self._database.change(_INSERT, values, _sku_is_taken)
        row = {"id": product_id, **values}
        return product_of(Product, {name: row[name] for name in PRODUCT_FIELDS}, PRODUCT_FIELDS)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["Reads"]:
        yield Reads(self._database)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator["Writes"]:
        async with self._database.writing() as session:
            yield Writes(session, self._database.dialect)

    async def _load_one(self, product_id: int) -> Product | None:
        return await Reads(self._database).product(product_id)

    async def _load_many(self, product_ids: Sequence[int]) -> dict[int, Product]:
        products = await Reads(self._database).products_by_id(product_ids, PRODUCT_FIELDS)
        return {product.id: product for product in products}


class Reads:
    """Plain statements, each by itself, without the bookkeeping of a session."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def product(self, product_id: int) -> Product | None:
        rows = await self._database.fetch(_ONE, {"product_id": product_id})
        found = _as_products(Product, rows, PRODUCT_FIELDS)
        return found[0] if found else None

    async def products_by_id(
        self, ids: Sequence[int], fields: Sequence[ProductField]
    ) -> list[PartialProduct]:
        columns = {"id", *fields}
        rows = await self._rows(select(*_columns(columns)).where(_products.id.in_(ids)))
        return _as_products(PartialProduct, rows.all(), columns, fields)

    async def select(self, selection: Selection) -> list[PartialProduct]:
        rows = await self._database.fetch(*page_of(selection))
        columns = {"id", selection.sort, *selection.fields}
        return _as_products(PartialProduct, rows, columns, selection.fields)

    async def products_after(self, product_id: int, limit: int) -> list[Product]:
        rows = await self._database.fetch(_NEXT, {"product_id": product_id, "limit": limit})
        return _as_products(Product, rows, PRODUCT_FIELDS)

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
        return _as_reviews(await self._rows(statement))

    async def reviews(self, product_id: int, *, before_id: int | None, limit: int) -> list[Review]:
        return _as_reviews(await self._rows(reviews_statement(product_id, before_id, limit)))

    async def review(self, product_id: int, review_id: int) -> Review | None:
        statement = select(*_reviews).where(
            _reviews.id == review_id, _reviews.product_id == product_id
        )
        found = _as_reviews(await self._rows(statement))
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
        rows = await self._rows(statement)
        return [Figures(**row) for row in rows.mappings()]

    async def _rows(self, statement: Select[Any]) -> CursorResult[Any]:
        async with self._database.reading() as connection:
            found: CursorResult[Any] = await connection.execute(statement)
            return found


class Writes:
    """One unit of work; what it changes is written as it goes and committed by its owner."""

    def __init__(self, session: AsyncSession, dialect: Dialect) -> None:
        self._session = session
        self._dialect = dialect
        # The session forgets rows that nobody holds, and would read them again.
        self._held: list[ProductRow | None] = []

    async def product(self, product_id: int) -> Product | None:
        return await self._product(product_id, locked=False)

    async def product_to_change(self, product_id: int) -> Product | None:
        return await self._product(product_id, locked=True)

    async def _product(self, product_id: int, *, locked: bool) -> Product | None:
        row = await self._session.get(ProductRow, product_id, with_for_update=locked)
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
            raise TryAgain("The product was changed at the same moment; try again.") from error


def page_of(selection: Selection) -> tuple[Prepared, dict[str, Any]]:
    """A page by keyset: the index of its order is entered where the last page ended."""
    values: dict[str, Any] = {
        "currency": selection.currency,
        "price_min": selection.price_min,
        "price_max": selection.price_max,
    }
    if selection.name_prefix is not None:
        values["name_from"], values["name_below"] = _range_of(selection.name_prefix)
    if selection.after is not None:
        values["key"], values["last_id"] = selection.after
    given = {name: value for name, value in values.items() if value is not None}
    columns = frozenset({"id", selection.sort, *selection.fields})
    prepared = _page(selection.sort, selection.descending, columns, frozenset(given))
    return prepared, {**given, "limit": selection.limit}


@lru_cache(maxsize=256)
def _page(sort: str, descending: bool, columns: frozenset[str], given: frozenset[str]) -> Prepared:
    column = _products[sort]
    key = bindparam("key", type_=column.type)
    last_id = bindparam("last_id", type_=_products.id.type)
    conditions = {
        "currency": _products.currency == bindparam("currency"),
        "price_min": _products.price >= bindparam("price_min"),
        "price_max": _products.price <= bindparam("price_max"),
        # By code point, as the index is sorted; LIKE would fold case on some databases.
        "name_from": _products.name >= bindparam("name_from"),
        "name_below": _products.name < bindparam("name_below"),
        # The first condition alone bounds the index; no database does that for `a OR (b AND c)`.
        "key": and_(column <= key, or_(column < key, _products.id < last_id))
        if descending
        else and_(column >= key, or_(column > key, _products.id > last_id)),
    }
    order = [column.desc(), _products.id.desc()] if descending else [column, _products.id]
    return Prepared(
        select(*_columns(columns))
        .where(*(condition for name, condition in conditions.items() if name in given))
        .order_by(*order)
        .limit(bindparam("limit", type_=Integer))
    )


def reviews_statement(product_id: int, before_id: int | None, limit: int) -> Select[Any]:
    """Reviews of a product, newest first."""
    statement = select(*_reviews).where(_reviews.product_id == product_id)
    if before_id is not None:
        statement = statement.where(_reviews.id < before_id)
    return statement.order_by(_reviews.id.desc()).limit(limit)


def _range_of(prefix: str) -> tuple[str, str | None]:
    """The first text that begins with `prefix`, and the first behind them all, if there is one."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return prefix, None
    following = ord(stem[-1]) + 1
    # Surrogates are no characters and cannot be sent.
    return prefix, stem[:-1] + chr(0xE000 if following == 0xD800 else following)


def _total(column: ColumnElement[int]) -> ColumnElement[int]:
    """As an integer: some databases make a decimal number of it."""
    return as_type(func.coalesce(func.sum(column), 0), BigInteger)


def _rows(drafts: Sequence[ProductDraft], now: datetime) -> list[dict[str, Any]]:
    return [
        {**draft.model_dump(), "version": 1, "created_at": now, "updated_at": now}
        for draft in drafts
    ]


def product_of(kind: type[Shape], values: dict[str, Any], sent: Collection[str]) -> Shape:
    """Of a row's `values`, which become its own; of its fields, those `sent` are sent.

    It is what `model_construct` makes, in a third of the time: a row has no aliases, and no
    defaults but one.
    """
    product = kind.__new__(kind)
    values.setdefault("latest_reviews", None)
    object.__setattr__(product, "__dict__", values)
    object.__setattr__(product, "__pydantic_fields_set__", set(sent))
    object.__setattr__(product, "__pydantic_extra__", None)
    object.__setattr__(product, "__pydantic_private__", None)
    return product


def _as_product(row: ProductRow) -> Product:
    values: dict[str, Any] = {name: getattr(row, name) for name in PRODUCT_FIELDS}
    return product_of(Product, values, PRODUCT_FIELDS)


def _as_products(
    kind: type[Shape],
    rows: Sequence[Sequence[Any]],
    columns: Collection[str],
    fields: Collection[str] | None = None,
) -> list[Shape]:
    """Products of rows with these `columns`, of which `fields` are sent."""
    names = _in_order(columns)
    sent = columns if fields is None else fields
    return [product_of(kind, dict(zip(names, row, strict=True)), sent) for row in rows]


def _as_reviews(rows: CursorResult[Any]) -> list[Review]:
    return [Review.model_construct(**row) for row in rows.mappings()]


def _sku_is_taken() -> Conflict:
    return Conflict("Another product has this sku; choose another.")
