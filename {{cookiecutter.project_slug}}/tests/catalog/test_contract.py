"""What the catalogue promises over HTTP, whatever keeps its products."""

import json
from datetime import datetime
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.catalog.products import create, draft
from tests.problems import problem


class TestCreate:
    async def test_answers_with_the_product_and_where_it_is(self, client: AsyncClient) -> None:
        """201 with Location and ETag, and the same product behind the Location."""
        body = draft(price=5)
        created = await client.post("/v1/products", json=body)
        assert created.status_code == 201
        product = created.json()
        assert product == {
            **body,
            "price": "5.00",
            "id": product["id"],
            "version": 1,
            "created_at": product["created_at"],
            "updated_at": product["created_at"],
        }
        assert datetime.fromisoformat(product["created_at"]).tzinfo is not None
        read = await client.get(created.headers["location"])
        assert read.json() == product
        assert read.headers["etag"] == created.headers["etag"]

    async def test_refuses_a_sku_that_is_taken(self, client: AsyncClient) -> None:
        """409, and the product that has it is untouched."""
        first = await create(client)
        again = await client.post("/v1/products", json=draft(sku=first["sku"], name="Other"))
        assert "sku" in problem(again, 409)["detail"]
        assert (await client.get(f"/v1/products/{first['id']}")).json() == first

    @pytest.mark.parametrize(
        ("fields", "pointer"),
        [
            ({"price": "-1"}, "#/price"),
            ({"price": "1.001"}, "#/price"),
            ({"price": "NaN"}, "#/price"),
            ({"price": 1e300}, "#/price"),
            ({"name": ""}, "#/name"),
            ({"name": "a\0b"}, "#/name"),
            ({"name": None}, "#/name"),
            ({"currency": "eur"}, "#/currency"),
            ({"sku": "with space"}, "#/sku"),
            ({"colour/~": "red"}, "#/colour~1~0"),
        ],
    )
    async def test_points_at_the_field_that_is_wrong(
        self, client: AsyncClient, fields: dict[str, Any], pointer: str
    ) -> None:
        """422 with a JSON pointer (RFC 6901), and nothing is kept."""
        refused = await client.post("/v1/products", json=draft(**fields))
        pointers = [error["pointer"] for error in problem(refused, 422)["errors"]]
        assert pointers == [pointer]
        assert (await client.get("/v1/products")).json()["items"] == []

    @pytest.mark.parametrize("media_type", [None, "text/plain", "application/xml"])
    async def test_says_how_to_send_it(self, client: AsyncClient, media_type: str | None) -> None:
        """415 for a body that does not say it is JSON."""
        headers = {"Content-Type": media_type} if media_type else {}
        body = json.dumps(draft())
        refused = await client.post("/v1/products", content=body, headers=headers)
        assert "application/json" in problem(refused, 415)["detail"]

    async def test_knows_no_minus_zero(self, client: AsyncClient) -> None:
        """Zero is zero, and answered the same each time."""
        product = await create(client, price="-0.0")
        assert product["price"] == "0.00"
        assert (await client.get(f"/v1/products/{product['id']}")).json() == product

    async def test_tells_a_hundred_errors_at_most(self, client: AsyncClient) -> None:
        """A body can be wrong in more places than anyone reads."""
        body = draft(**{f"unknown-{number}": 1 for number in range(1_000)})
        refused = await client.post("/v1/products", json=body)
        assert len(problem(refused, 422)["errors"]) == 100

    async def test_refuses_half_a_character(self, client: AsyncClient) -> None:
        """422 for a lone surrogate, which JSON can write and UTF-8 cannot."""
        body = json.dumps(draft(name="\ud800"))
        headers = {"Content-Type": "application/json"}
        refused = await client.post("/v1/products", content=body, headers=headers)
        assert problem(refused, 422)["errors"][0]["pointer"] == "#/name"

    @pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"[" * 100_000])
    async def test_refuses_what_is_not_json(self, client: AsyncClient, body: bytes) -> None:
        """A 4xx problem document, however broken the body."""
        headers = {"Content-Type": "application/json"}
        refused = await client.post("/v1/products", content=body, headers=headers)
        assert refused.status_code in {400, 422}
        problem(refused, refused.status_code)


class TestRead:
    async def test_unknown_product(self, client: AsyncClient) -> None:
        """404 that names the product."""
        assert "4711" in problem(await client.get("/v1/products/4711"), 404)["detail"]

    @pytest.mark.parametrize("wrong", ["0", "-1", "abc", str(2**63), "1.5"])
    async def test_impossible_id(self, client: AsyncClient, wrong: str) -> None:
        """422 that names the parameter."""
        document = problem(await client.get(f"/v1/products/{wrong}"), 422)
        assert [error["parameter"] for error in document["errors"]] == ["product_id"]

    async def test_not_modified(self, client: AsyncClient) -> None:
        """304 without a body while the client's version is the current one."""
        product = await create(client)
        path = f"/v1/products/{product['id']}"
        tag = (await client.get(path)).headers["etag"]
        held = await client.get(path, headers={"If-None-Match": f'W/"0", W/{tag}'})
        assert (held.status_code, held.content) == (304, b"")
        assert held.headers["etag"] == tag
        await client.patch(path, json={"name": "New"})
        assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 200


class TestChange:
    async def test_replaces_every_field(self, client: AsyncClient) -> None:
        """PUT: what is left out becomes its default, the version counts up, the id stays."""
        product = await create(client)
        body = draft()
        del body["description"]
        replaced = await client.put(f"/v1/products/{product['id']}", json=body)
        assert replaced.status_code == 200
        assert replaced.json() == {
            **product,
            **body,
            "description": "",
            "version": 2,
            "updated_at": replaced.json()["updated_at"],
        }
        assert replaced.json()["updated_at"] > product["updated_at"]
        read = await client.get(f"/v1/products/{product['id']}")
        assert read.json() == replaced.json()
        assert read.headers["etag"] == replaced.headers["etag"]

    async def test_changes_some_fields(self, client: AsyncClient) -> None:
        """PATCH: what is left out stays."""
        product = await create(client)
        changed = await client.patch(f"/v1/products/{product['id']}", json={"price": "1.50"})
        assert changed.status_code == 200
        expected = {**product, "price": "1.50", "version": 2}
        assert {**changed.json(), "updated_at": product["updated_at"]} == expected

    @pytest.mark.parametrize("body", [{}, {"name": None}, {"id": 5}, {"version": 9}, []])
    async def test_refuses_a_change_of_nothing_or_of_what_is_given(
        self, client: AsyncClient, body: Any
    ) -> None:
        """422 for an empty change, for null, and for fields that the service assigns."""
        product = await create(client)
        problem(await client.patch(f"/v1/products/{product['id']}", json=body), 422)

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    async def test_is_held_to_the_version_that_was_read(
        self, client: AsyncClient, method: str
    ) -> None:
        """412 when the product has changed since, and then it stays as it is."""
        product = await create(client)
        path = f"/v1/products/{product['id']}"
        stale = (await client.get(path)).headers["etag"]
        current = await client.patch(path, json={"name": "Changed by another"})
        body: dict[str, Any] = {} if method == "DELETE" else {"json": draft()}
        for held_to in (stale, f"W/{current.headers['etag']}", '"nonsense"'):
            refused = await client.request(method, path, headers={"If-Match": held_to}, **body)
            problem(refused, 412)
        assert (await client.get(path)).json() == current.json()
        held_to = f'"other", {current.headers["etag"]}'
        accepted = await client.request(method, path, headers={"If-Match": held_to}, **body)
        assert accepted.is_success

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    async def test_unknown_product(self, client: AsyncClient, method: str) -> None:
        """404, whatever the condition."""
        body: dict[str, Any] = {} if method == "DELETE" else {"json": draft()}
        headers = {"If-Match": "*"}
        problem(await client.request(method, "/v1/products/4711", headers=headers, **body), 404)

    async def test_keeps_its_own_sku_but_takes_no_other(self, client: AsyncClient) -> None:
        """409 for another product's sku, and the change is undone as a whole."""
        taken = await create(client)
        product = await create(client)
        path = f"/v1/products/{product['id']}"
        assert (await client.patch(path, json={"sku": product["sku"]})).is_success
        before = (await client.get(path)).json()
        body = {"name": "Half", "sku": taken["sku"]}
        problem(await client.patch(path, json=body), 409)
        assert (await client.get(path)).json() == before


class TestRemove:
    async def test_takes_the_reviews_along(self, client: AsyncClient) -> None:
        """204, then 404 for the product and for its reviews."""
        product = await create(client)
        path = f"/v1/products/{product['id']}"
        review = await client.post(f"{path}/reviews", json={"author": "A", "rating": 3})
        removed = await client.delete(path)
        assert (removed.status_code, removed.content) == (204, b"")
        problem(await client.get(path), 404)
        problem(await client.get(f"{path}/reviews"), 404)
        problem(await client.get(review.headers["location"]), 404)
        assert (await client.get("/v1/products/statistics")).json()["reviews"] == 0

    async def test_frees_the_sku(self, client: AsyncClient) -> None:
        """Another product may have it then."""
        product = await create(client)
        await client.delete(f"/v1/products/{product['id']}")
        assert (await create(client, sku=product["sku"]))["id"] != product["id"]


class TestBulk:
    async def test_adds_all_in_order(self, client: AsyncClient) -> None:
        """201 with the ids in the order of the body."""
        drafts = [draft() for _ in range(50)]
        added = await client.post("/v1/products/bulk", json=drafts)
        assert added.status_code == 201
        ids = added.json()["ids"]
        listed = await client.get("/v1/products", params={"ids": ids})
        assert [item["sku"] for item in listed.json()["items"]] == [body["sku"] for body in drafts]

    async def test_adds_all_or_none(self, client: AsyncClient) -> None:
        """409 for one sku that is taken, 422 for one field that is wrong: nothing is kept."""
        twice = draft()
        problem(await client.post("/v1/products/bulk", json=[draft(), twice, twice]), 409)
        wrong = await client.post("/v1/products/bulk", json=[draft(), draft(price="x")])
        assert problem(wrong, 422)["errors"][0]["pointer"] == "#/1/price"
        assert (await client.get("/v1/products")).json()["items"] == []

    async def test_replaces_what_has_the_sku(self, client: AsyncClient) -> None:
        """200 with the ids in order: new ones are added, others keep id, age and reviews."""
        old = await create(client, price="1.00")
        path = f"/v1/products/{old['id']}"
        await client.post(f"{path}/reviews", json={"author": "A", "rating": 5})
        drafts = [draft(), draft(sku=old["sku"], price="2.00"), draft()]
        for version in (2, 3):
            put = await client.put("/v1/products/bulk", json=drafts)
            assert put.status_code == 200
            ids = put.json()["ids"]
            assert ids[1] == old["id"]
            replaced = (await client.get(path)).json()
            assert replaced["version"] == version
        assert {name: replaced[name] for name in drafts[1]} == drafts[1]
        assert replaced["created_at"] == old["created_at"]
        assert replaced["updated_at"] > old["updated_at"]
        assert len((await client.get(f"{path}/reviews")).json()["items"]) == 1
        listed = (await client.get("/v1/products", params={"ids": ids})).json()["items"]
        assert [item["sku"] for item in listed] == [body["sku"] for body in drafts]

    async def test_replaces_all_or_none(self, client: AsyncClient) -> None:
        """409 for a sku that stands there twice, 422 for a field that is wrong."""
        old = await create(client)
        twice = draft()
        changed = draft(sku=old["sku"])
        problem(await client.put("/v1/products/bulk", json=[changed, twice, twice]), 409)
        wrong = await client.put("/v1/products/bulk", json=[changed, draft(price="x")])
        assert problem(wrong, 422)["errors"][0]["pointer"] == "#/1/price"
        assert (await client.get("/v1/products")).json()["items"] == [old]

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    async def test_is_bounded(self, client: AsyncClient, method: str) -> None:
        """422 for none and for more than 1,000."""
        for drafts in ([], [draft()] * 1_001):
            problem(await client.request(method, "/v1/products/bulk", json=drafts), 422)


class TestReviews:
    async def test_are_listed_newest_first(self, client: AsyncClient) -> None:
        """Page by page, each review once."""
        product = await create(client)
        path = f"/v1/products/{product['id']}/reviews"
        for rating in (1, 2, 3, 4, 5):
            body = {"author": "A", "rating": rating, "text": "Fine."}
            created = await client.post(path, json=body)
            assert created.status_code == 201
            assert (await client.get(created.headers["location"])).json() == created.json()
        seen: list[int] = []
        params: dict[str, Any] = {"limit": 2}
        while True:
            page = (await client.get(path, params=params)).json()
            seen += [review["rating"] for review in page["items"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        assert seen == [5, 4, 3, 2, 1]

    @pytest.mark.parametrize("rating", [0, 6, 2.5, "3", True, None])
    async def test_rating_is_a_whole_number_of_stars(
        self, client: AsyncClient, rating: Any
    ) -> None:
        """422 for anything but 1 to 5."""
        product = await create(client)
        body = {"author": "A", "rating": rating}
        refused = await client.post(f"/v1/products/{product['id']}/reviews", json=body)
        assert problem(refused, 422)["errors"][0]["pointer"] == "#/rating"

    async def test_need_their_product(self, client: AsyncClient) -> None:
        """404 for reviews of a product that is not there, or of another."""
        body = {"author": "A", "rating": 1}
        problem(await client.post("/v1/products/4711/reviews", json=body), 404)
        problem(await client.get("/v1/products/4711/reviews"), 404)
        one, other = await create(client), await create(client)
        review = await client.post(f"/v1/products/{one['id']}/reviews", json=body)
        path = f"/v1/products/{other['id']}/reviews/{review.json()['id']}"
        problem(await client.get(path), 404)


class TestStatistics:
    async def test_empty(self, client: AsyncClient) -> None:
        """Zeros and nulls, no division by zero."""
        statistics = (await client.get("/v1/products/statistics")).json()
        expected: dict[str, Any] = {
            "products": 0,
            "reviews": 0,
            "rating_average": None,
            "currencies": [],
        }
        assert statistics == expected

    async def test_by_currency(self, client: AsyncClient) -> None:
        """Prices of different currencies are never mixed; reviews do not multiply products."""
        lamp = await create(client, price="10.00", currency="EUR")
        await create(client, price="0.01", currency="EUR")
        chair = await create(client, price="5.00", currency="USD")
        for product, ratings in ((lamp, (5, 4, 4)), (chair, (1,))):
            for rating in ratings:
                body = {"author": "A", "rating": rating}
                await client.post(f"/v1/products/{product['id']}/reviews", json=body)
        assert (await client.get("/v1/products/statistics")).json() == {
            "products": 3,
            "reviews": 4,
            "rating_average": 3.5,
            "currencies": [
                {
                    "currency": "EUR",
                    "products": 2,
                    "products_last_30_days": 2,
                    "price_minimum": "0.01",
                    "price_average": "5.01",
                    "price_maximum": "10.00",
                    "reviews": 3,
                    "rating_average": 4.33,
                },
                {
                    "currency": "USD",
                    "products": 1,
                    "products_last_30_days": 1,
                    "price_minimum": "5.00",
                    "price_average": "5.00",
                    "price_maximum": "5.00",
                    "reviews": 1,
                    "rating_average": 1.0,
                },
            ],
        }
