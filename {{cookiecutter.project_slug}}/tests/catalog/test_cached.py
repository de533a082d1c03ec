"""What of the catalogue is cached, and what outdates it: a write is seen by the next read."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from httpx2 import AsyncClient, Response

from app.catalog.service import Catalog
from app.errors import Unavailable
from tests.catalog.products import create, draft

Write = Callable[[AsyncClient, dict[str, Any]], Awaitable[Response]]

WRITES: dict[str, Write] = {
    "create": lambda client, _product: client.post("/v1/products", json=draft()),
    "create in bulk": lambda client, _product: client.post("/v1/products/bulk", json=[draft()]),
    "put in bulk": lambda client, product: client.put(
        "/v1/products/bulk", json=[draft(sku=product["sku"], name="Changed")]
    ),
    "replace": lambda client, product: client.put(
        f"/v1/products/{product['id']}", json=draft(sku=product["sku"], name="Changed")
    ),
    "change": lambda client, product: client.patch(
        f"/v1/products/{product['id']}", json={"name": "Changed"}
    ),
    "review": lambda client, product: client.post(
        f"/v1/products/{product['id']}/reviews", json={"author": "A", "rating": 5}
    ),
    "remove": lambda client, product: client.delete(f"/v1/products/{product['id']}"),
}
REFUSED: dict[str, tuple[Write, int]] = {
    "taken sku": (
        lambda client, product: client.post("/v1/products", json=draft(sku=product["sku"])),
        409,
    ),
    "other version": (
        lambda client, product: client.patch(
            f"/v1/products/{product['id']}", json={"name": "N"}, headers={"If-Match": '"7"'}
        ),
        412,
    ),
    "no such product": (
        lambda client, _product: client.patch("/v1/products/4711", json={"name": "N"}),
        404,
    ),
}


def pages(product: dict[str, Any]) -> list[str]:
    """What is cached that may depend on a product."""
    one = f"/v1/products/{product['id']}"
    return [
        one,
        f"{one}/reviews",
        "/v1/products",
        "/v1/products?include=reviews",
        f"/v1/products?ids={product['id']}",
        "/v1/products/statistics",
    ]


def status(response: Response) -> str:
    """What became of a request in the cache."""
    told: str = response.headers["cache-status"].split("; ")[1]
    return told


@pytest.fixture
async def product(client: AsyncClient) -> dict[str, Any]:
    return await create(client)


class TestHits:
    async def test_each_page(self, client: AsyncClient, product: dict[str, Any]) -> None:
        """The second answer is the first one."""
        for page in pages(product):
            first, second = await client.get(page), await client.get(page)
            assert status(second) == "hit", page
            assert second.json() == first.json()
            assert second.headers["etag"] == first.headers["etag"]

    async def test_export_is_streamed(self, client: AsyncClient) -> None:
        """It is never kept."""
        for _ in range(2):
            assert "cache-status" not in (await client.get("/v1/products/export")).headers

    async def test_id_that_is_none(self, client: AsyncClient) -> None:
        """However long it is, and whatever the cache would make of it."""
        for _ in range(2):
            answer = await client.get(f"/v1/products/{'1' * 5_000}/reviews")
            assert answer.status_code == 422

    @pytest.mark.parametrize("written", ["+{}", "{}.0", "0{}", "%20{}"])
    async def test_id_that_is_written_otherwise(
        self, client: AsyncClient, product: dict[str, Any], written: str
    ) -> None:
        """Whatever it is answered with, it is not what was before a change."""
        page = f"/v1/products/{written.format(product['id'])}"
        await client.get(page)
        await WRITES["change"](client, product)
        answer = await client.get(page)
        assert answer.status_code == 422 or answer.json()["name"] == "Changed"

    async def test_missing_product(self, client: AsyncClient) -> None:
        """It is not there until it is: the next id is asked for before it is given away."""
        first = await create(client)
        page = f"/v1/products/{first['id'] + 1}"
        assert (await client.get(page)).status_code == 404
        assert (await create(client))["id"] == first["id"] + 1
        assert (await client.get(page)).status_code == 200


class TestWrites:
    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
    async def test_each_is_seen(
        self, client: AsyncClient, product: dict[str, Any], write: Write
    ) -> None:
        """By whoever asks after it was answered: as if there were no cache."""
        for page in pages(product):
            await client.get(page)
        assert (await write(client, product)).is_success
        for page in pages(product):
            answer = await client.get(page)
            anew = await client.get(page, headers={"Cache-Control": "no-cache"})
            assert answer.status_code == anew.status_code
            assert answer.json() == anew.json() or answer.status_code == 404, page

    @pytest.mark.parametrize(("write", "code"), REFUSED.values(), ids=REFUSED.keys())
    async def test_refused_one_outdates_nothing(
        self, client: AsyncClient, product: dict[str, Any], write: Write, code: int
    ) -> None:
        """What is refused has changed nothing."""
        for page in pages(product):
            await client.get(page)
        assert (await write(client, product)).status_code == code
        for page in pages(product):
            assert status(await client.get(page)) == "hit", page

    async def test_commit_whose_answer_was_lost(
        self,
        client: AsyncClient,
        product: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It may have been kept, so that nothing older is shown."""
        change = Catalog.change

        async def change_and_fail(*args: Any) -> None:
            await change(*args)
            raise Unavailable("The answer was lost.")

        page = f"/v1/products/{product['id']}"
        await client.get(page)
        monkeypatch.setattr(Catalog, "change", change_and_fail)
        assert (await WRITES["change"](client, product)).status_code == 503
        assert (await client.get(page)).json()["name"] == "Changed"
