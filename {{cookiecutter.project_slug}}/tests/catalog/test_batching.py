"""Reads by id share statements, when the settings say so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.catalog.repository import DatabaseStore
from app.catalog.service import Catalog
from app.infra.http.pages import Cursors
from app.main import create_app
from app.settings import Settings
from tests.catalog.products import create
from tests.catalog.test_statements import counted
from tests.databases import opened, with_database
from tests.problems import problem
from tests.serving import running

READERS = 200
PRODUCTS = 50


@asynccontextmanager
async def open_rooms(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """The catalogue on the database, with nothing in between that would spare it a read."""
    async with opened(settings) as database:
        yield {"catalog": Catalog(DatabaseStore(database), Cursors("of no interest"))}


@pytest.fixture
def batching(settings: Settings) -> FastAPI:
    """The service, which waits a hundredth of a second for company."""
    waiting = with_database(settings, batch_window_seconds=0.01, batch_maximum=100)
    return create_app(waiting, open_rooms=open_rooms)


async def read_all(app: FastAPI) -> int:
    """200 clients read 50 products at once; the number of statements that takes."""
    async with running(app) as client:
        ids = [(await create(client))["id"] for _ in range(PRODUCTS)]
        paths = [f"/v1/products/{ids[number % PRODUCTS]}" for number in range(READERS)]
        with counted() as statements:
            answers = await asyncio.gather(*(client.get(path) for path in paths))
    for path, answer in zip(paths, answers, strict=True):
        assert answer.status_code == 200
        assert path.endswith(f"/{answer.json()['id']}")
    return len(statements)


class TestReadById:
    async def test_statements_without(self, settings: Settings) -> None:
        """One for each request."""
        assert await read_all(create_app(settings, open_rooms=open_rooms)) == READERS

    async def test_statements_with(self, batching: FastAPI) -> None:
        """At most a tenth: there are 50 ids, and a batch holds 100."""
        assert await read_all(batching) <= READERS // 10

    async def test_each_gets_an_answer_of_their_own(self, batching: FastAPI) -> None:
        """The product as ever, with its ETag; 404 for what is not there."""
        async with running(batching) as client:
            product = await create(client)
            path = f"/v1/products/{product['id']}"
            found, missing = await asyncio.gather(client.get(path), client.get("/v1/products/4711"))
            assert found.json() == product
            assert found.headers["etag"]
            assert "4711" in problem(missing, 404)["detail"]
            etag = found.headers["etag"]
            unchanged = await client.get(path, headers={"If-None-Match": etag})
            assert unchanged.status_code == 304

    async def test_sees_what_was_written(self, batching: FastAPI) -> None:
        """A read that begins after a write never has what was before."""
        async with running(batching) as client:
            product = await create(client)
            path = f"/v1/products/{product['id']}"

            async def rename(number: int) -> None:
                await client.patch(path, json={"name": f"Name {number}"})
                assert await name(client, path) >= number

            for number in range(10):
                await asyncio.gather(rename(number), *(client.get(path) for _ in range(5)))


async def name(client: AsyncClient, path: str) -> int:
    return int((await client.get(path)).json()["name"].removeprefix("Name "))
