"""Products to test with."""

from itertools import count
from typing import Any

from httpx2 import AsyncClient

_numbers = count(1)


def draft(**fields: Any) -> dict[str, Any]:
    """The body of a product that no other test has."""
    number = next(_numbers)
    return {
        "sku": f"sku-{number}",
        "name": f"Lamp {number}",
        "description": "It shines.",
        "price": "19.90",
        "currency": "EUR",
        **fields,
    }


async def create(client: AsyncClient, **fields: Any) -> dict[str, Any]:
    """A product as it was answered."""
    response = await client.post("/v1/products", json=draft(**fields))
    assert response.status_code == 201, response.text
    product: dict[str, Any] = response.json()
    return product
