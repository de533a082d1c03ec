"""Pages of products: order, filters, fields, cursors."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.catalog.products import create, draft
from tests.problems import problem


async def walk(client: AsyncClient, **params: Any) -> list[dict[str, Any]]:
    """Every product of a listing, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        response = await client.get("/v1/products", params=params)
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(page["items"]) <= params["limit"]
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        params["cursor"] = page["next_cursor"]


async def fill(client: AsyncClient, products: Sequence[dict[str, Any]]) -> list[int]:
    response = await client.post("/v1/products/bulk", json=[draft(**each) for each in products])
    ids: list[int] = response.json()["ids"]
    return ids


class TestOrder:
    @pytest.mark.parametrize("limit", [1, 3, 7, 100])
    @pytest.mark.parametrize("field", ["created_at", "name", "price"])
    @pytest.mark.parametrize("descending", [False, True])
    async def test_each_product_once_in_order(
        self, client: AsyncClient, field: str, descending: bool, limit: int
    ) -> None:
        """Ties are broken by id, also where a page ends in the middle of them."""
        names = ["b", "a", "B", "é", "z\U0001f600", "z\uffff", "a", "", "10", "9"]
        prices = ["2", "10", "2", "0", "0.01", "10", "2", "999.99", "2", "9"]
        await fill(
            client,
            [
                {"name": name or " ", "price": price}
                for name, price in zip(names, prices, strict=True)
            ],
        )
        sort = f"-{field}" if descending else field
        items = await walk(client, sort=sort, limit=limit)

        def key(item: dict[str, Any]) -> tuple[Any, int]:
            value = item[field]
            return (Decimal(value) if field == "price" else value), item["id"]

        assert len(items) == len(names)
        assert items == sorted(items, key=key, reverse=descending)

    async def test_newest_first_unless_told_otherwise(self, client: AsyncClient) -> None:
        """The default order."""
        ids = [(await create(client))["id"] for _ in range(3)]
        items = (await client.get("/v1/products")).json()["items"]
        assert [item["id"] for item in items] == ids[::-1]

    async def test_rows_that_come_and_go_shift_nothing(self, client: AsyncClient) -> None:
        """A product is neither skipped nor repeated when others appear or vanish between pages."""
        prices = [str(price) for price in range(1, 9)]
        ids = await fill(client, [{"price": price} for price in prices])
        params: dict[str, Any] = {"sort": "price", "limit": 4}
        first = (await client.get("/v1/products", params=params)).json()
        await client.delete(f"/v1/products/{ids[3]}")
        await create(client, price="0.50")
        rest = await walk(client, **params, cursor=first["next_cursor"])
        assert [item["id"] for item in first["items"] + rest] == ids


class TestFilters:
    async def test_narrow_the_listing(self, client: AsyncClient) -> None:
        """All that are given must hold; bounds are inclusive."""
        cheap, middle, dear = await fill(
            client, [{"price": "1.00"}, {"price": "2.00"}, {"price": "3.00"}]
        )
        (dollars,) = await fill(client, [{"price": "2.00", "currency": "USD"}])

        async def found(**params: Any) -> set[int]:
            return {item["id"] for item in await walk(client, limit=2, **params)}

        assert await found(price_min="2") == {middle, dear, dollars}
        assert await found(price_max="2.00") == {cheap, middle, dollars}
        assert await found(price_min="1.5", price_max="2.5", currency="EUR") == {middle}
        assert await found(currency="GBP") == set()

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            ("a", {"a", "ab", "a%c", "a_d", "a\U0010ffff"}),
            ("a%", {"a%c"}),
            ("a_", {"a_d"}),
            ("A", {"Ab"}),
            ("a\U0010ffff", {"a\U0010ffff"}),
            ("\U0010ffff", {"\U0010ffff"}),
            ("\ud7ff", {"\ud7ff!"}),
            ("x", set()),
        ],
    )
    async def test_by_the_beginning_of_the_name(
        self, client: AsyncClient, prefix: str, expected: set[str]
    ) -> None:
        """Character by character: case matters and nothing is a wildcard."""
        names = ["a", "ab", "Ab", "a%c", "a_d", "a\U0010ffff", "\U0010ffff", "\ud7ff!", "b"]
        await fill(client, [{"name": name} for name in names])
        items = await walk(client, name_prefix=prefix, limit=3, sort="name")
        assert {item["name"] for item in items} == expected

    @pytest.mark.parametrize(
        ("params", "parameter"),
        [
            ({"limit": 0}, "limit"),
            ({"limit": 101}, "limit"),
            ({"sort": "description"}, "sort"),
            ({"currency": "euro"}, "currency"),
            ({"price_min": "much"}, "price_min"),
            ({"fields": "id,colour"}, "fields.1"),
            ({"include": "images"}, "include"),
            ({"ids": "1,x"}, "ids.1"),
            ({"ids": "1", "sort": "price"}, "query"),
            ({"colour": "red"}, "colour"),
        ],
    )
    async def test_wrong_parameter(
        self, client: AsyncClient, params: dict[str, Any], parameter: str
    ) -> None:
        """422 that names it; a misspelt one is not ignored."""
        errors = problem(await client.get("/v1/products", params=params), 422)["errors"]
        assert [error["parameter"] for error in errors] == [parameter]


class TestFields:
    async def test_only_those_that_were_asked_for(self, client: AsyncClient) -> None:
        """Whatever the order, whose column is not sent along; pages still join."""
        await fill(client, [{"price": str(price)} for price in (3, 1, 2)])
        items = await walk(client, fields="currency,sku", sort="price", limit=1)
        assert [set(item) for item in items] == [{"currency", "sku"}] * 3
        everything = await walk(client, sort="price", limit=3)
        assert [item["sku"] for item in items] == [item["sku"] for item in everything]

    async def test_with_ids(self, client: AsyncClient) -> None:
        """In the order of the ids."""
        one, two = await fill(client, [{"name": "One"}, {"name": "Two"}])
        params = {"ids": f"{two},{one}", "fields": "name"}
        items = (await client.get("/v1/products", params=params)).json()["items"]
        assert items == [{"name": "Two"}, {"name": "One"}]


class TestIds:
    async def test_in_their_order_without_those_that_are_gone(self, client: AsyncClient) -> None:
        """Comma-separated or repeated; a repeated id is answered once."""
        one, two, three = await fill(client, [{}, {}, {}])
        for params in ({"ids": f"{three},{one},4711,{three}"}, {"ids": [three, one, 4711, three]}):
            page = (await client.get("/v1/products", params=params)).json()
            assert [item["id"] for item in page["items"]] == [three, one]
            assert page["next_cursor"] is None
        assert two not in {three, one}

    async def test_are_bounded(self, client: AsyncClient) -> None:
        """422 for more than 100."""
        ids = ",".join(map(str, range(1, 102)))
        problem(await client.get("/v1/products", params={"ids": ids}), 422)


class TestCursor:
    async def test_of_another_order_is_refused(self, client: AsyncClient) -> None:
        """400: the cursor belongs to the order that it came from."""
        await fill(client, [{}, {}])
        params: dict[str, Any] = {"limit": 1, "sort": "price"}
        cursor = (await client.get("/v1/products", params=params)).json()["next_cursor"]
        again: dict[str, Any] = {"limit": 1, "cursor": cursor}
        assert (await client.get("/v1/products", params={**again, "sort": "price"})).is_success
        problem(await client.get("/v1/products", params={**again, "sort": "-price"}), 400)
        problem(await client.get("/v1/products/1/reviews", params=again), 400)

    @pytest.mark.parametrize("cursor", ["x", "AAAA", "é", "=" * 9, "WyIxIiwgMV0"])
    async def test_forged(self, client: AsyncClient, cursor: str) -> None:
        """400, never 500."""
        problem(await client.get("/v1/products", params={"cursor": cursor}), 400)


class TestLatestReviews:
    async def test_three_of_each_product_newest_first(self, client: AsyncClient) -> None:
        """With `include=reviews` only, and an empty list without reviews."""
        ids = await fill(client, [{}, {}, {}])
        for product_id, ratings in zip(ids, ((1, 2, 3, 4, 5), (2,), ()), strict=True):
            for rating in ratings:
                body = {"author": "A", "rating": rating}
                await client.post(f"/v1/products/{product_id}/reviews", json=body)
        params = {"include": "reviews", "sort": "created_at", "fields": "id"}
        items = (await client.get("/v1/products", params=params)).json()["items"]
        assert [[review["rating"] for review in item["latest_reviews"]] for item in items] == [
            [5, 4, 3],
            [2],
            [],
        ]
        plain = (await client.get("/v1/products")).json()["items"]
        assert all("latest_reviews" not in item for item in plain)
