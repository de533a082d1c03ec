"""Workers and queues that end, hang or are not there: nothing is lost, and nothing done twice."""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import insert, select

from app.errors import StartupError, Unavailable
from app.infra.database import Database
from app.infra.tasks import State, Tasks
from app.settings import Settings
from tests import task_jobs, task_table
from tests.databases import make_rows, rows
from tests.recorded import lines_of
from tests.task_rooms import PATIENCE_SECONDS, begun, open_tasks, over, until, with_tasks
from tests.task_worker import WorkerProcess, worker

# More of them show more, and take longer.
TASKS = int(os.environ.get("TASKS", "100"))
KILLS = 3
_ADDRESS = r"http://127\.0\.0\.1:\d+"

pytestmark = pytest.mark.slow


@pytest.fixture
async def own(settings: Settings, private_broker: Any) -> Settings:
    """Settings with a queue and a table of the test's own."""
    await make_rows(settings)
    return with_tasks(settings, url=private_broker.url, lease_seconds=2, timeout_seconds=5)


@pytest.fixture
async def rooms(own: Settings) -> AsyncIterator[dict[str, Any]]:
    """Rooms of who submits tasks."""
    async with open_tasks(own) as rooms:
        yield rooms


@pytest.fixture
def tasks(rooms: dict[str, Any]) -> Tasks:
    found: Tasks = rooms["tasks"]
    return found


async def is_idle(tasks: Tasks) -> bool:
    return not await tasks.backlog()


async def submit(tasks: Tasks, number: int) -> None:
    """Submit a task, and again while the queue is away."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await tasks.submit(task_table.effect, number=number)
            except Unavailable:
                await asyncio.sleep(0.2)
            else:
                return


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(10 * PATIENCE_SECONDS):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


async def effects(database: Database) -> Counter[int]:
    async with database.reading() as connection:
        return Counter((await connection.scalars(select(rows.c.value))).all())


async def has_said(process: WorkerProcess, pattern: str) -> bool:
    return re.search(pattern, process.log) is not None


class TestNothingIsLost:
    async def test_killed_and_restarted(
        self, own: Settings, rooms: dict[str, Any], private_broker: Any, tmp_path: Path
    ) -> None:
        """The worker dies three times and the queue is restarted: each effect is there once."""
        tasks: Tasks = rooms["tasks"]
        database: Database = rooms["database"]

        async def reached(number: int) -> bool:
            return (await effects(database)).total() >= number

        with worker(tmp_path, own) as process:
            submission = asyncio.create_task(self._submit_all(tasks))
            for kill in range(1, KILLS + 1):
                await eventually(partial(reached, kill * TASKS // (KILLS + 2)))
                process.kill()
                if kill == 2:
                    await asyncio.to_thread(private_broker.stop)
                    await asyncio.to_thread(private_broker.start)
                process.start()
            await submission
            await eventually(partial(reached, TASKS))
            await eventually(partial(is_idle, tasks))
        assert await effects(database) == Counter(range(TASKS))
        assert await tasks.ledger.failed(10) == []

    async def _submit_all(self, tasks: Tasks) -> None:
        for number in range(TASKS):
            await submit(tasks, number)


class TestSigterm:
    async def test_jobs_have_their_time(self, own: Settings, tasks: Tasks, tmp_path: Path) -> None:
        patient = with_tasks(own, stop_timeout_seconds=60)
        with worker(tmp_path, patient) as process:
            task = await begun(tasks, await tasks.submit(task_jobs.wait, seconds=1))
            await self._terminate(process)
        task = await tasks.get(task.id)
        assert (task.state, task.attempt) == (State.SUCCEEDED, 1)

    async def test_what_takes_longer_begins_again(
        self, own: Settings, tasks: Tasks, tmp_path: Path
    ) -> None:
        with worker(tmp_path, own) as process:
            task = await begun(tasks, await tasks.submit(task_jobs.wait, seconds=600))
            await self._terminate(process)
            task = await tasks.get(task.id)
            assert (task.state, task.failures) == (State.QUEUED, 0)
            process.start()
            await until(tasks, task, lambda current: current.attempt == 2)

    async def _terminate(self, process: WorkerProcess) -> None:
        process.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.process.wait, PATIENCE_SECONDS) == 0


class TestQueueIsAway:
    async def test_at_submission(self, own: Settings, private_broker: Any) -> None:
        """503 with Retry-After, and nothing of the unit of work is kept; later it goes well."""
        before = asyncio.all_tasks()
        async with open_tasks(own) as rooms:
            await self._go_through(rooms["tasks"], rooms["database"], private_broker)
        # What has found the queue again ends with the service.
        assert asyncio.all_tasks() == before

    async def _go_through(self, tasks: Tasks, database: Database, broker: Any) -> None:
        async def work() -> None:
            async with database.writing() as session:
                await session.execute(insert(rows).values(value=1))
                await tasks.submit(task_jobs.add, a=1)

        await asyncio.to_thread(broker.kill)
        refused = await self._refusal(tasks)
        assert (refused.headers or {})["Retry-After"] == "1"
        backlog = sum(backlog.queued for backlog in await tasks.backlog())
        with pytest.raises(Unavailable):
            await work()
        assert await effects(database) == Counter()
        assert sum(backlog.queued for backlog in await tasks.backlog()) == backlog
        await asyncio.to_thread(broker.start)

        async def is_kept() -> bool:
            with suppress(Unavailable):
                await work()
            return bool(await effects(database))

        await eventually(is_kept)

    async def _refusal(self, tasks: Tasks) -> Unavailable:
        """What a submission is told, as soon as the connection has noticed."""
        while True:
            try:
                await tasks.submit(task_jobs.add, a=1, key="probe")
            except Unavailable as refusal:
                return refusal
            await asyncio.sleep(0.05)

    async def test_at_start(self, own: Settings, private_broker: Any) -> None:
        """A sentence, after the time that it is given."""
        await asyncio.to_thread(private_broker.kill)
        impatient = with_tasks(own, url=private_broker.url, start_timeout_seconds=0.5)
        with pytest.raises(StartupError, match="start its server or correct APP_TASKS__URL"):
            async with open_tasks(impatient):
                pytest.fail("it has opened")

    async def test_back_in_time(self, own: Settings, private_broker: Any, tmp_path: Path) -> None:
        """Whoever starts first waits for the other."""
        await asyncio.to_thread(private_broker.kill)
        with worker(tmp_path, own) as process:
            await eventually(partial(has_said, process, "waiting for it"))
            await asyncio.to_thread(private_broker.start)
            async with open_tasks(own) as rooms:
                task = await rooms["tasks"].submit(task_jobs.add, a=1)
                assert (await over(rooms["tasks"], task)).state == State.SUCCEEDED


class TestHealth:
    async def test_probes(self, own: Settings, private_broker: Any, tmp_path: Path) -> None:
        """Alive all the time; ready while the queue is there."""
        with worker(tmp_path, own) as process:
            await eventually(partial(has_said, process, _ADDRESS))
            [address] = re.findall(_ADDRESS, process.log)
            async with AsyncClient(base_url=address, timeout=PATIENCE_SECONDS) as client:
                ready = await client.get("/health/ready")
                assert (ready.status_code, set(ready.json()["checks"])) == (
                    200,
                    {"database", "tasks"},
                )
                await asyncio.to_thread(private_broker.kill)

                async def is_unready() -> bool:
                    return (await client.get("/health/ready")).status_code == 503

                await eventually(is_unready)
                assert (await client.get("/health/live")).status_code == 200


class TestLog:
    async def test_is_of_one_format(
        self, own: Settings, tasks: Tasks, private_broker: Any, tmp_path: Path
    ) -> None:
        """From the first line to the last, also of libraries that lose the queue and find it."""
        with worker(tmp_path, own) as process:
            await over(tasks, await tasks.submit(task_jobs.crash))
            await asyncio.to_thread(private_broker.kill)
            await eventually(partial(has_said, process, "does not answer"))
            await asyncio.to_thread(private_broker.start)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await submit(tasks, 1)
            await eventually(partial(is_idle, tasks))
            process.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.process.wait, PATIENCE_SECONDS) == 0
        lines = lines_of(process.log)
        assert {"uvicorn"} <= {line.get("logger") for line in lines}
        assert "job failed" in [line["event"] for line in lines]
