"""The import of a price list whose worker is killed: it goes on where it was."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from httpx2 import AsyncClient

from app.main import create_app
from app.settings import Settings
from tests.catalog.price_lists import HEADER, lines, over, products, rows, send
from tests.serving import running
from tests.task_rooms import PATIENCE_SECONDS, with_tasks
from tests.task_worker import WorkerProcess, worker

ROWS = 100_000
# Long before the end, which is seconds away.
KILLED_AT = (2_500, 5_000)

pytestmark = pytest.mark.slow


async def test_twice(settings: Settings, tmp_path: Path) -> None:
    """What is there in the end is what an import leaves that nobody interrupts."""
    quick = with_tasks(settings, lease_seconds=2)
    text = HEADER + rows(*range(ROWS // 2)) + "b d,Lamp,1,EUR\n" + rows(*range(ROWS // 2, ROWS))
    async with running(create_app(quick)) as client:
        location = (await send(client, text)).headers["location"]
        with worker(tmp_path, quick, of_service=True) as process:
            for attempt, done in enumerate(KILLED_AT, start=1):
                await _killed(attempt, done, client, location, process)
                status = (await client.get(location)).json()
                assert (status["state"], status["progress"]["total"]) == ("running", ROWS + 1)
                assert status["progress"]["done"] < ROWS
                process.start()
            status = await over(client, location)
        assert (status["state"], status["attempt"]) == ("succeeded", 3)
        result: dict[str, Any] = status["result"]
        assert (result["rows"], result["imported"], result["failed"]) == (ROWS + 1, ROWS, 1)
        assert lines(result) == [(ROWS // 2 + 2, "b d")]
        assert await products(client) == {
            f"sku-{number}": ("Lamp", f"{number}.50", 1) for number in range(ROWS)
        }


async def _killed(
    attempt: int, done: int, client: AsyncClient, location: str, process: WorkerProcess
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            status = (await client.get(location)).json()
            if status["attempt"] == attempt and status["progress"]["done"] >= done:
                break
            await asyncio.sleep(0.01)
    process.kill()
