"""Price lists to test with, and attempts at jobs that end as a test wants them to."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from httpx2 import AsyncClient, Response

from app.catalog.jobs import import_prices
from app.catalog.price_lists import PriceList, PriceLists, PriceListStore
from app.infra.tasks import Task, Tasks
from app.infra.tasks.performer import Attempt

Rooms = Mapping[str, Any]

PATH = "/v1/products/import"
HEADER = "sku,name,price,currency\n"
LATER = timedelta(days=1)
_HANGS_SECONDS = 120
_OVER = {"succeeded", "failed", "cancelled"}


def rows(*numbers: int, name: str = "Lamp") -> str:
    """Lines of CSV, each for a product of its own."""
    return "".join(f"sku-{number},{name},{number}.50,EUR\n" for number in numbers)


async def in_pieces(text: str, size: int = 1_000) -> AsyncIterator[bytes]:
    """`text` as it comes over a network."""
    data = text.encode()
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def send(client: AsyncClient, body: bytes | str, **headers: str) -> Response:
    """The answer to an upload."""
    sent = {"Content-Type": "text/csv"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return await client.post(PATH, content=body, headers=sent)


async def imported(client: AsyncClient, body: bytes | str) -> dict[str, Any]:
    """What an upload resulted in."""
    response = await send(client, body)
    assert response.status_code == 202, response.text
    status = await over(client, response.headers["location"])
    assert status["state"] == "succeeded", status
    result: dict[str, Any] = status["result"]
    return result


async def over(client: AsyncClient, location: str) -> dict[str, Any]:
    """The status of a task at its end, which is better than to wait for ever."""
    async with asyncio.timeout(_HANGS_SECONDS):
        while True:
            status: dict[str, Any] = (await client.get(location)).json()
            if status["state"] in _OVER:
                return status
            await asyncio.sleep(0.01)


async def products(client: AsyncClient) -> dict[str, tuple[str, str, int]]:
    """Name, price and version of each product, by sku."""
    response = await client.get("/v1/products/export")
    found = map(json.loads, response.content.splitlines())
    return {each["sku"]: (each["name"], each["price"], each["version"]) for each in found}


def store_of(rooms: Rooms) -> PriceListStore:
    """Where the price lists are kept."""
    price_lists: PriceLists = rooms["price_lists"]
    return price_lists._lists


async def kept(rooms: Rooms) -> list[PriceList]:
    """The price lists that are there."""
    return await store_of(rooms).after("", 100)


async def uploaded(rooms: Rooms, pieces: AsyncIterator[bytes]) -> Task:
    """The task of an upload, which nobody begins before the test does."""
    tasks: Tasks = rooms["tasks"]
    price_lists: PriceLists = rooms["price_lists"]

    async def submit(price_list_id: str) -> Task:
        return await tasks.submit(import_prices, delay=LATER, price_list_id=price_list_id)

    return await price_lists.upload(pieces, submit)


class Died(Exception):
    """The process has ended."""


@dataclass
class Dying(Attempt):
    """An attempt whose process ends when it saves once more than `saves`."""

    saves: int = 1_000_000
    after_saving: bool = False

    async def save(
        self, checkpoint: Any = None, *, done: int = 0, total: int | None = None
    ) -> None:
        dies = self.saves == 0
        self.saves -= 1
        if dies and not self.after_saving:
            raise Died
        await super().save(checkpoint, done=done, total=total)
        if dies:
            raise Died


async def begun(rooms: Rooms, task_id: str, **dying: Any) -> Dying:
    """An attempt at a task that waits."""
    ledger = rooms["tasks"].ledger
    now = datetime.now(UTC)
    task = await ledger.claim(task_id, now, now + LATER)
    assert task is not None
    checkpoint = None if task.checkpoint is None else json.loads(task.checkpoint)
    return Dying(task, rooms, ledger, checkpoint, **dying)


async def put_back(run: Dying) -> None:
    """What a sweep does with the task of a dead worker."""
    await run.ledger.postpone(run.task, datetime.now(UTC) + LATER, failed=True)


async def perform(run: Attempt) -> dict[str, Any]:
    """What the import results in."""
    arguments = json.loads(run.task.arguments)
    return (await import_prices(run, **arguments)).model_dump()


def lines(result: Mapping[str, Any]) -> Iterable[tuple[int, str | None]]:
    """Where the errors of an import are."""
    return [(error["line"], error["sku"]) for error in result["errors"]]
