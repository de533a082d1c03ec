"""Recently viewed products, from a browser's first look to its last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.catalog.memory import MemoryStore
from app.catalog.service import Catalog
from app.infra.http.pages import Cursors
from app.infra.sessions import Sessions
from app.infra.sessions.memory import MemorySessions, MemorySessionSettings
from app.main import create_app
from app.settings import Settings
from tests.catalog.products import create
from tests.problems import problem

PATH = "/v1/recently-viewed"


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """The service, with products and sessions in memory."""

    @asynccontextmanager
    async def open_rooms(settings: Settings) -> AsyncIterator[dict[str, Any]]:
        bounds = MemorySessionSettings()
        yield {
            "catalog": Catalog(MemoryStore(), Cursors(settings.secret_key.get_secret_value())),
            "sessions": Sessions(MemorySessions(bounds), bounds),
        }

    return create_app(settings, open_rooms=open_rooms)


async def view(client: AsyncClient, product_id: int) -> None:
    response = await client.put(f"{PATH}/{product_id}")
    assert response.status_code == 204, response.text


async def viewed(client: AsyncClient) -> list[int]:
    """The ids of what was viewed, as the client would show it."""
    response = await client.get(PATH)
    assert response.status_code == 200, response.text
    return [product["id"] for product in response.json()]


class TestView:
    async def test_newest_first_without_doubles(self, client: AsyncClient) -> None:
        """What is looked at again moves to the front."""
        one, two, three = [(await create(client))["id"] for _ in range(3)]
        for product_id in (one, two, three, one):
            await view(client, product_id)
        assert await viewed(client) == [one, three, two]

    async def test_keeps_the_last_ten(self, client: AsyncClient) -> None:
        """Whatever was viewed before is forgotten."""
        ids = [(await create(client))["id"] for _ in range(12)]
        for product_id in ids:
            await view(client, product_id)
        assert await viewed(client) == ids[:1:-1]

    async def test_at_the_same_time(self, client: AsyncClient) -> None:
        """In several tabs; none is lost."""
        first, *ids = [(await create(client))["id"] for _ in range(10)]
        await view(client, first)
        await asyncio.gather(*(view(client, product_id) for product_id in ids))
        assert sorted(await viewed(client)) == [first, *ids]

    async def test_no_such_product(self, client: AsyncClient) -> None:
        """It is not noted, and no session begins."""
        response = await client.put(f"{PATH}/1")
        problem(response, 404)
        assert "set-cookie" not in response.headers
        problem(await client.put(f"{PATH}/0"), 422)


class TestList:
    async def test_nothing_yet(self, client: AsyncClient) -> None:
        """Looking at the list is no reason for a cookie."""
        response = await client.get(PATH)
        assert response.json() == []
        assert "set-cookie" not in response.headers
        assert response.headers["cache-control"] == "no-store"

    async def test_whole_products(self, client: AsyncClient) -> None:
        """Each as it is now, and as it is listed elsewhere."""
        product = await create(client)
        await view(client, product["id"])
        await client.patch(f"/v1/products/{product['id']}", json={"name": "Brighter"})
        (listed,) = (await client.get("/v1/products")).json()["items"]
        assert (await client.get(PATH)).json() == [listed]
        assert listed["name"] == "Brighter"

    async def test_what_is_gone(self, client: AsyncClient) -> None:
        """Is left out."""
        one, two = [(await create(client))["id"] for _ in range(2)]
        await view(client, one)
        await view(client, two)
        await client.delete(f"/v1/products/{two}")
        assert await viewed(client) == [one]

    async def test_of_somebody_else(self, client: AsyncClient) -> None:
        """Is their own affair."""
        await view(client, (await create(client))["id"])
        client.cookies.clear()  # as somebody else
        assert await viewed(client) == []


class TestForget:
    async def test_everything(self, client: AsyncClient) -> None:
        """Here and on the server: the old cookie brings nothing back."""
        await view(client, (await create(client))["id"])
        cookie = f"session={client.cookies['session']}"
        assert (await client.delete(PATH)).status_code == 204
        assert "session" not in client.cookies
        assert (await client.get(PATH, headers={"cookie": cookie})).json() == []

    async def test_nothing(self, client: AsyncClient) -> None:
        """There may be nothing to forget."""
        response = await client.delete(PATH)
        assert response.status_code == 204
        assert "set-cookie" not in response.headers
