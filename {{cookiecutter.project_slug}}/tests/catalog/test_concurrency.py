"""Many clients at once: none is lost, none is answered with an error of ours."""

import asyncio
import random
from collections import Counter

from httpx2 import AsyncClient

from tests.catalog.products import create, draft

CLIENTS = 300


class TestManyAtOnce:
    async def test_reads_and_writes_are_all_served(self, client: AsyncClient) -> None:
        """Each of 300 clients creates, changes, reads and lists, and sees what it wrote."""

        async def live(number: int) -> int:
            product = await create(client)
            path = f"/v1/products/{product['id']}"
            changed = await client.patch(path, json={"name": f"Client {number}"})
            read = await client.get(path)
            listed = await client.get("/v1/products", params={"limit": 5})
            assert [each.status_code for each in (changed, read, listed)] == [200] * 3
            assert read.json()["name"] == f"Client {number}"
            return int(product["id"])

        ids = await asyncio.gather(*(live(number) for number in range(CLIENTS)))
        assert len(set(ids)) == CLIENTS
        statistics = (await client.get("/v1/products/statistics")).json()
        assert statistics["products"] == CLIENTS

    async def test_one_of_those_who_saw_the_same_version_wins(self, client: AsyncClient) -> None:
        """The others are told, whoever of 50 was first."""
        product = await create(client)
        path = f"/v1/products/{product['id']}"
        headers = {"If-Match": (await client.get(path)).headers["etag"]}
        answers = await asyncio.gather(
            *(client.put(path, json=draft(), headers=headers) for _ in range(50))
        )
        assert Counter(each.status_code for each in answers) == {200: 1, 412: 49}
        assert (await client.get(path)).json()["version"] == 2

    async def test_those_who_saw_no_version_change_it_one_after_the_other(
        self, client: AsyncClient
    ) -> None:
        """None of 50 is told of a condition that it has not put, or is in vain."""
        path = f"/v1/products/{(await create(client))['id']}"
        answers = await asyncio.gather(
            *(client.patch(path, json={"name": f"By {number}"}) for number in range(50))
        )
        assert Counter(each.status_code for each in answers) == {200: 50}
        assert {each.json()["version"] for each in answers} == {*range(2, 52)}

    async def test_one_of_those_who_want_the_same_sku_gets_it(self, client: AsyncClient) -> None:
        """The others conflict."""
        body = draft()
        answers = await asyncio.gather(*(client.post("/v1/products", json=body) for _ in range(50)))
        assert Counter(each.status_code for each in answers) == {201: 1, 409: 49}

    async def test_bulk_writes_of_the_same_products(self, client: AsyncClient) -> None:
        """In whichever order each has them, they wait for one another and never in a circle."""
        drafts = [draft() for _ in range(30)]
        chance = random.Random(4711)  # noqa: S311  # nothing here is secret
        bodies = [chance.sample(drafts, len(drafts)) for _ in range(30)]
        answers = await asyncio.gather(
            *(client.put("/v1/products/bulk", json=body) for body in bodies)
        )
        assert {answer.status_code for answer in answers} == {200}
        ids = {
            draft["sku"]: number
            for draft, number in zip(bodies[0], answers[0].json()["ids"], strict=True)
        }
        for body, answer in zip(bodies, answers, strict=True):
            assert answer.json()["ids"] == [ids[draft["sku"]] for draft in body]
        assert (await client.get("/v1/products/statistics")).json()["products"] == 30
