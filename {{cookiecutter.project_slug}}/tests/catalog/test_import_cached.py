"""What an import changes is seen by the next read."""

from httpx2 import AsyncClient

from tests.catalog.price_lists import HEADER, imported, rows
from tests.catalog.products import create


async def test_import_outdates(client: AsyncClient) -> None:
    """The product by itself, the listing and the statistics."""
    product = await create(client, sku="sku-1", name="Before")
    one = f"/v1/products/{product['id']}"
    for path in (one, "/v1/products", "/v1/products/statistics"):
        for _ in range(2):
            cached = await client.get(path)
        assert "hit" in cached.headers["cache-status"]
    await imported(client, HEADER + rows(1, 2, name="After"))
    assert (await client.get(one)).json()["name"] == "After"
    assert len((await client.get("/v1/products")).json()["items"]) == 2
    assert (await client.get("/v1/products/statistics")).json()["products"] == 2
