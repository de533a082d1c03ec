"""The best products, as of the last count."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.catalog.jobs import recount_ratings
from app.infra.tasks import Tasks
from app.settings import Settings
from tests.catalog.price_lists import LATER, Died, Rooms, begun, put_back
from tests.catalog.products import create
from tests.problems import problem
from tests.serving import calling, with_state

PATH = "/v1/products/top-rated"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nothing is counted by itself, but at the start."""
    seldom = settings.tasks.model_copy(update={"sweep_seconds": 86_400.0})
    return settings.model_copy(update={"tasks": seldom})


@pytest.fixture
async def rooms(app: FastAPI) -> AsyncIterator[Rooms]:
    """What jobs find as `run.rooms`, when those of the start have ended."""
    async with app.router.lifespan_context(app) as state:
        rooms: Rooms = state or {}
        tasks: Tasks = rooms["tasks"]
        await tasks.submit_due()
        await idle(tasks)
        yield rooms


@pytest.fixture
async def client(app: FastAPI, rooms: Rooms) -> AsyncIterator[AsyncClient]:
    async with calling(with_state(app, rooms)) as client:
        yield client


async def idle(tasks: Tasks) -> None:
    """Until no task is waiting or running."""
    while True:
        if not await tasks.backlog():
            return
        await asyncio.sleep(0.01)


async def recount(rooms: Rooms) -> None:
    """What a worker does every five minutes."""
    task = await rooms["tasks"].submit(recount_ratings, delay=LATER)
    await recount_ratings(await begun(rooms, task.id))


async def rated(client: AsyncClient, *ratings: int) -> dict[str, Any]:
    """A product with these ratings."""
    product = await create(client)
    for rating in ratings:
        body = {"author": "A", "rating": rating}
        response = await client.post(f"/v1/products/{product['id']}/reviews", json=body)
        assert response.status_code == 201
    return product


async def top(client: AsyncClient, **params: int) -> list[tuple[int, int, float]]:
    """Id, reviews and average of the best."""
    response = await client.get(PATH, params=params)
    assert response.status_code == 200, response.text
    return [
        (item["product_id"], item["reviews"], item["rating_average"])
        for item in response.json()["items"]
    ]


class TestTopRated:
    async def test_before_and_after_a_count(self, client: AsyncClient, rooms: Rooms) -> None:
        """What was reviewed since is not counted yet."""
        started = datetime.now(UTC)
        product = await rated(client, 5, 4, 4)
        assert (await client.get(PATH)).json() == {"counted_at": None, "items": []}
        await recount(rooms)
        answer = (await client.get(PATH)).json()
        item = {
            "product_id": product["id"],
            "name": product["name"],
            "reviews": 3,
            "rating_average": 4.33,
        }
        assert answer["items"] == [item]
        assert started <= datetime.fromisoformat(answer["counted_at"]) <= datetime.now(UTC)
        other = await rated(client, 5)
        assert await top(client) == [(product["id"], 3, 4.33)]
        await recount(rooms)
        assert await top(client) == [(other["id"], 1, 5.0), (product["id"], 3, 4.33)]

    async def test_order(self, client: AsyncClient, rooms: Rooms) -> None:
        """The better average, then more reviews, then the newer product; without those that have
        none."""
        ratings = [(4,), (5,), (5, 5), (), (1, 2), (5,), (4, 4, 4, 4, 5)]
        ids = [(await rated(client, *each))["id"] for each in ratings]
        await recount(rooms)
        assert [product_id for product_id, _, _ in await top(client)] == [
            ids[place] for place in (2, 5, 1, 6, 0, 4)
        ]
        assert [product_id for product_id, _, _ in await top(client, limit=2)] == [ids[2], ids[5]]

    async def test_thirds(self, client: AsyncClient, rooms: Rooms) -> None:
        """Averages are compared as they are, and rounded only to be shown."""
        one = await rated(client, *[5] * 28, 4)
        two = await rated(client, *[5] * 29, 4)
        await recount(rooms)
        assert await top(client) == [(two["id"], 30, 4.97), (one["id"], 29, 4.97)]

    async def test_product_that_is_gone(self, client: AsyncClient, rooms: Rooms) -> None:
        """It is gone from here at once."""
        product, other = await rated(client, 5), await rated(client, 4)
        await recount(rooms)
        await client.delete(f"/v1/products/{product['id']}")
        assert await top(client) == [(other["id"], 1, 4.0)]

    @pytest.mark.parametrize("limit", ["0", "101", "x"])
    async def test_limit(self, client: AsyncClient, limit: str) -> None:
        """From 1 to 100."""
        problem(await client.get(PATH, params={"limit": limit}), 422)


class TestRecount:
    async def test_by_itself(self, rooms: Rooms) -> None:
        """Every five minutes."""
        tasks: Tasks = rooms["tasks"]
        assert tasks.jobs["catalog.recount_ratings"].every == timedelta(minutes=5)

    async def test_in_batches(self, client: AsyncClient, rooms: Rooms) -> None:
        """Each counts the products that follow, and no other."""
        ids = [(await rated(client, 5))["id"] for _ in range(5)]
        store, now = rooms["ratings"]._store, datetime.now(UTC)
        assert await store.recount(0, 2, now) == ids[1]
        assert len(await top(client)) == 2
        assert await store.recount(ids[1], 2, now) == ids[3]
        assert await store.recount(ids[3], 2, now) == ids[4]
        assert await store.recount(ids[4], 2, now) is None
        assert len(await top(client)) == 5

    async def test_goes_on(self, client: AsyncClient, rooms: Rooms) -> None:
        """An attempt whose worker died is followed by one that begins where it stopped."""
        product = await rated(client, 5)
        task = await rooms["tasks"].submit(recount_ratings, delay=LATER)
        run = await begun(rooms, task.id, saves=0, after_saving=True)
        with pytest.raises(Died):
            await recount_ratings(run)
        await put_back(run)
        run = await begun(rooms, task.id)
        assert run.checkpoint == product["id"]
        await recount_ratings(run)
        assert len(await top(client)) == 1

    async def test_at_the_same_time(self, client: AsyncClient, rooms: Rooms) -> None:
        """Two who count do not harm each other."""
        products = [await rated(client, 5) for _ in range(3)]
        store, now = rooms["ratings"]._store, datetime.now(UTC)
        await asyncio.gather(*(store.recount(0, 100, now) for _ in range(3)))
        assert len(await top(client)) == len(products)
