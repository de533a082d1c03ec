"""The job that imports a price list: whatever becomes of its worker, each row counts once."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.catalog.csv_chunks import Chunk
from app.catalog.price_lists import PriceList, PriceLists
from app.catalog.price_lists_memory import MemoryPriceLists
from app.errors import Conflict, NotFound, Unavailable
from app.infra.tasks import State, Superseded, Tasks
from app.infra.tasks.performer import Performer
from tests.catalog.price_lists import (
    HEADER,
    Died,
    Rooms,
    begun,
    in_pieces,
    kept,
    lines,
    perform,
    products,
    put_back,
    rows,
    store_of,
    uploaded,
)
from tests.catalog.products import create
from tests.serving import calling, with_state


@pytest.fixture
async def rooms(app: FastAPI) -> AsyncIterator[Rooms]:
    """What jobs find as `run.rooms`."""
    async with app.router.lifespan_context(app) as state:
        yield state or {}


@pytest.fixture
async def client(app: FastAPI, rooms: Rooms) -> AsyncIterator[AsyncClient]:
    async with calling(with_state(app, rooms)) as client:
        yield client


@pytest.fixture
def tidied(rooms: Rooms) -> PriceLists:
    """The price lists as they are tidied a day and an hour from now."""
    now = datetime.now(UTC) + timedelta(hours=25)
    return PriceLists(store_of(rooms), rooms["price_lists"]._products, clock=lambda: now)


class TestResuming:
    @pytest.mark.parametrize("saves", [0, 1, 3])
    async def test_after_a_death(
        self, client: AsyncClient, rooms: Rooms, store: str, saves: int
    ) -> None:
        """The next attempt goes on: no row is imported twice, no error is told twice."""
        await create(client, sku="sku-3")
        text = HEADER + rows(*range(700)) + "b d,Lamp,1,EUR\n" + rows(*range(700, 1_600))
        task = await uploaded(rooms, in_pieces(text))
        # In memory, nothing can come between a note and what it belongs to.
        run = await begun(rooms, task.id, saves=saves, after_saving=store != "memory")
        with pytest.raises(Died):
            await perform(run)
        assert len(await products(client)) == max(1, min(saves * 500 - (saves > 1), 1_600))
        await put_back(run)
        run = await begun(rooms, task.id)
        result = await perform(run)
        assert (result["rows"], result["imported"], result["failed"]) == (1_601, 1_600, 1)
        assert lines(result) == [(702, "b d")]
        assert run.saves == 1_000_000 - 4 + saves
        found = await products(client)
        assert len(found) == 1_600
        assert {sku for sku, (_, _, version) in found.items() if version != 1} == {"sku-3"}
        assert found["sku-3"] == ("Lamp", "3.50", 2)

    async def test_after_the_last_save(self, client: AsyncClient, rooms: Rooms) -> None:
        """Nothing is left to do but to say so."""
        task = await uploaded(rooms, in_pieces(HEADER + rows(1)))
        run = await begun(rooms, task.id)
        first = await perform(run)
        await put_back(run)
        run = await begun(rooms, task.id, saves=0)
        assert await perform(run) == first
        assert await products(client) == {"sku-1": ("Lamp", "1.50", 1)}

    async def test_taken_for_dead(self, client: AsyncClient, rooms: Rooms) -> None:
        """What an attempt writes after another has begun is undone."""
        task = await uploaded(rooms, in_pieces(HEADER + rows(1)))
        late = await begun(rooms, task.id)
        await put_back(late)
        await begun(rooms, task.id)
        with pytest.raises(Superseded):
            await perform(late)
        assert await products(client) == {}

    async def test_store_that_is_away(self, rooms: Rooms) -> None:
        """The task is put back, to go on later."""

        class Away(MemoryPriceLists):
            async def find(self, price_list_id: str) -> PriceList | None:
                raise Unavailable(f"Nobody knows {price_list_id} now.")

        task = await uploaded(rooms, in_pieces(HEADER + rows(1)))
        tasks: Tasks = rooms["tasks"]
        away = {**rooms, "price_lists": PriceLists(Away(), rooms["price_lists"]._products)}
        await Performer(tasks.ledger, tasks.jobs, tasks.settings, away).perform(task.id)
        put_back = await tasks.get(task.id)
        assert (put_back.state, put_back.failures) == (State.QUEUED, 1)
        await Performer(tasks.ledger, tasks.jobs, tasks.settings, rooms).perform(task.id)
        assert (await tasks.get(task.id)).state == State.SUCCEEDED

    async def test_list_that_is_gone(self, rooms: Rooms) -> None:
        """The task fails with a sentence."""
        task = await uploaded(rooms, in_pieces(HEADER + rows(1)))
        (price_list,) = await kept(rooms)
        await store_of(rooms).remove(price_list.id)
        with pytest.raises(NotFound, match="send it again"):
            await perform(await begun(rooms, task.id))


class TestTidying:
    async def test_abandoned(self, rooms: Rooms, tidied: PriceLists) -> None:
        """A list that is not complete has a day; then it goes, and whoever sends more is told."""
        store, tasks = store_of(rooms), rooms["tasks"]
        await store.begin(PriceList("a" * 32, datetime.now(UTC), ("sku",)))
        await store.add("a" * 32, Chunk(1, 2, 1, "sku-1\n"))
        assert await rooms["price_lists"].tidy(tasks) == 0
        assert len(await kept(rooms)) == 1
        assert await tidied.tidy(tasks) == 1
        assert await kept(rooms) == []
        assert await store.chunk("a" * 32, 1) is None
        with pytest.raises(Conflict, match="took too long"):
            await store.add("a" * 32, Chunk(2, 3, 1, "sku-2\n"))

    @pytest.mark.parametrize(
        ("state", "stays"),
        [
            (State.SUCCEEDED, False),
            (State.CANCELLED, False),
            (State.FAILED, True),
            (State.RUNNING, True),
            (State.QUEUED, True),
        ],
    )
    async def test_imported(
        self, rooms: Rooms, tidied: PriceLists, state: State, stays: bool
    ) -> None:
        """It stays as long as its import may go on, however late: also as one that has failed."""
        task = await uploaded(rooms, in_pieces(HEADER + rows(1)))
        if state != State.QUEUED:
            run = await begun(rooms, task.id)
        now = datetime.now(UTC)
        if state.over:
            await run.ledger.finish(run.task, state, now, now)
        tasks: Tasks = rooms["tasks"]
        assert await tidied.tidy(tasks) == (not stays)
        assert bool(await kept(rooms)) == stays
        if state.over:
            while await run.ledger.forget(now, 100):
                pass
            await tidied.tidy(tasks)
            assert await kept(rooms) == []

    async def test_more_than_a_page(self, rooms: Rooms, tidied: PriceLists) -> None:
        """All of them."""
        for number in range(101):
            price_list = PriceList(f"{number:032}", datetime.now(UTC), ("sku",))
            await store_of(rooms).begin(price_list)
        assert await tidied.tidy(rooms["tasks"]) == 101


class TestMemory:
    async def test_is_bounded(self) -> None:
        """What does not fit is refused until what is there has gone."""
        lists = MemoryPriceLists(max_characters=10)
        for name in ("a", "b"):
            await lists.begin(PriceList(name, datetime.now(UTC), ("sku",)))
        await lists.add("a", Chunk(1, 2, 1, "x" * 10))
        with pytest.raises(Unavailable):
            await lists.add("b", Chunk(1, 2, 1, "x"))
        await lists.remove("a")
        await lists.add("b", Chunk(1, 2, 1, "x" * 10))
