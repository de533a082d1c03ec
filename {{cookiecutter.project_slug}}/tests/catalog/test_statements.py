"""What the catalogue asks of the database: how many statements, which columns, which index."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import Engine, event, insert, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm.exc import StaleDataError

from app.catalog.models import ProductRow, ReviewRow
from app.catalog.repository import DatabaseStore, page_of, reviews_statement
from app.catalog.schemas import ProductDraft
from app.catalog.service import Selection
from app.errors import TryAgain
from app.infra.database import Database
from app.settings import Settings
from tests.catalog.products import create, draft
from tests.databases import Explain, Plan, opened


@pytest.fixture(params=["database"])
def store(request: pytest.FixtureRequest) -> str:
    """The database alone; a dict has no statements."""
    return str(request.param)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    async with opened(settings) as database:
        yield database


# What the service does meanwhile, by itself, is not counted.
_inside: ContextVar[bool] = ContextVar("inside", default=False)


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that are executed inside, without the framing of transactions."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if _inside.get() and statement.split()[0] not in {"BEGIN", "SET"}:
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    token = _inside.set(True)
    try:
        yield statements
    finally:
        _inside.reset(token)
        event.remove(Engine, "before_cursor_execute", note)


class TestCounts:
    """One statement for a question, however many rows answer it."""

    @pytest.mark.parametrize("products", [1, 50])
    async def test_listing_with_reviews(self, client: AsyncClient, products: int) -> None:
        """Two: the page, and the reviews of all its products."""
        for _ in range(products):
            product = await create(client)
            body = {"author": "A", "rating": 5}
            await client.post(f"/v1/products/{product['id']}/reviews", json=body)
        params: dict[str, str | int] = {"include": "reviews", "limit": 100}
        with counted() as statements:
            page = (await client.get("/v1/products", params=params)).json()
        assert len(page["items"]) == products
        assert len(statements) == 2

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/v1/products", 1),
            ("/v1/products?ids=1,2,3,4,5", 1),
            ("/v1/products/1", 1),
            ("/v1/products/1/reviews", 1),
            ("/v1/products/statistics", 1),
        ],
    )
    async def test_reads(self, client: AsyncClient, path: str, expected: int) -> None:
        """One each."""
        drafts = [draft() for _ in range(30)]
        await client.post("/v1/products/bulk", json=drafts)
        await client.post("/v1/products/1/reviews", json={"author": "A", "rating": 5})
        with counted() as statements:
            assert (await client.get(path)).status_code == 200
        assert len(statements) == expected, statements

    @pytest.mark.parametrize("products", [1, 1_000])
    async def test_bulk(self, client: AsyncClient, products: int) -> None:
        """One insert for all rows; their ids come along, or are read at once where they cannot."""
        drafts = [draft() for _ in range(products)]
        for method in ("POST", "PUT"):
            with counted() as statements:
                response = await client.request(method, "/v1/products/bulk", json=drafts)
            assert len(response.json()["ids"]) == products
            assert [each.split()[0] for each in statements] in (["INSERT"], ["INSERT", "SELECT"])

    async def test_writes(self, client: AsyncClient) -> None:
        """An insert; a read and an update; a read and a delete."""
        with counted() as statements:
            product = await create(client)
        assert len(statements) == 1
        path = f"/v1/products/{product['id']}"
        with counted() as statements:
            await client.patch(path, json={"name": "Other"})
        assert [each.split()[0] for each in statements] == ["SELECT", "UPDATE"]
        with counted() as statements:
            await client.delete(path)
        assert [each.split()[0] for each in statements] == ["SELECT", "DELETE"]

    async def test_lazy_loading_is_an_error(self, database: Database) -> None:
        """Walking from a product to its reviews does not load them, it raises."""
        async with database.writing() as session:
            row = ProductRow(**ProductDraft(**draft()).model_dump(), **_now())
            session.add(row)
            await session.flush()
            await session.refresh(row)
            with pytest.raises(InvalidRequestError, match="lazy='raise'"):
                _ = row.reviews


class TestColumns:
    async def test_only_what_is_sent_and_sorted_by(self, client: AsyncClient) -> None:
        """`fields` reaches the statement: descriptions are not read to be thrown away."""
        with counted() as statements:
            await client.get("/v1/products", params={"fields": "name", "sort": "price"})
        columns = statements[0].split("FROM")[0]
        assert "product.name" in columns
        assert "product.description" not in columns
        assert columns.count("product.") == 3


class TestIndexes:
    """The plan of each hot read enters an index and sorts nothing."""

    @pytest.fixture
    async def database(self, database: Database) -> Database:
        """Rows enough that the planner takes the trouble."""
        store = DatabaseStore(database)
        async with store.writing() as writer:
            text = "It shines, and it is described at length. " * 20
            drafts = [ProductDraft(**draft(price=n, description=text)) for n in range(1_000)]
            ids = await writer.add_all(drafts, datetime.now(UTC))
            review = {"author": "A", "rating": 5, "text": text, "created_at": datetime.now(UTC)}
            reviews = [{"product_id": each, **review} for each in ids for _ in range(3)]
            await writer._session.execute(insert(ReviewRow), reviews)
        return database

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize(
        ("sort", "key"),
        [("created_at", datetime.now(UTC)), ("name", "Lamp"), ("price", Decimal("1.00"))],
    )
    async def test_pages(
        self,
        database: Database,
        explain: Explain,
        sort: str,
        key: Any,
        descending: bool,
        after: bool,
    ) -> None:
        """The first page walks the index of its order, a later one enters it at its cursor."""
        selection = Selection(sort=sort, descending=descending, limit=20)
        if after:
            selection = replace(selection, after=(key, 7))
        prepared, values = page_of(selection)
        plan = await explain(database, prepared.statement.params(values))
        assert plan == Plan(index=f"ix_product_{sort}_id", bounded=after, sorts=False)

    async def test_reviews(self, database: Database, explain: Explain) -> None:
        """Reviews of a product are read in order from their index."""
        plan = await explain(database, reviews_statement(1, 100, 20))
        assert plan == Plan(index="ix_review_product_id_id", bounded=True, sorts=False)


class TestRaces:
    async def test_a_version_that_moved_is_not_overwritten(self, database: Database) -> None:
        """Even when the check of the version and the write have another write between."""
        store = DatabaseStore(database)
        async with store.writing() as writer:
            product = await writer.add(ProductDraft(**draft()), datetime.now(UTC))

        async def race() -> None:
            async with store.writing() as writer:
                await writer.product(product.id)
                await writer._session.execute(text("UPDATE product SET version = 99"))
                await writer.change(product.id, {"name": "Late"}, datetime.now(UTC))

        with pytest.raises(TryAgain) as failure:
            await race()
        assert isinstance(failure.value.__cause__, StaleDataError)


def _now() -> dict[str, datetime]:
    now = datetime.now(UTC)
    return {"created_at": now, "updated_at": now}
