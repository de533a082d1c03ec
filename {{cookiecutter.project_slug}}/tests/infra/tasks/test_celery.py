"""What is Celery's own: its processes, their ends, and the messages of strangers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Producer

from app import bootstrap
from app.errors import StartupError, Unavailable
from app.infra.tasks import Job, State, Task, Tasks
from app.infra.tasks.celery import CeleryTransport
from app.infra.tasks.working import working
from app.settings import Settings
from tests import pool_jobs, task_jobs
from tests.pool_jobs import POOL_JOBS, SEIZING
from tests.processes import environment
from tests.proxies import Proxy
from tests.recorded import lines_of
from tests.task_rooms import PATIENCE_SECONDS, begun, of_tasks, open_tasks, over, with_tasks
from tests.task_worker import as_variables, worker

pytestmark = pytest.mark.slow

Pool = Callable[..., AbstractAsyncContextManager[Tasks]]


@pytest.fixture
def pool(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Starts processes, with other settings of background work than usual."""

    @asynccontextmanager
    async def start(jobs: Sequence[Job] = POOL_JOBS, **changes: Any) -> AsyncIterator[Tasks]:
        chosen = with_tasks(settings, **{"concurrency": 1, **changes})
        for name, value in environment(**as_variables(chosen)).items():
            monkeypatch.setenv(name, value)
        async with open_tasks(chosen, jobs) as rooms, working(rooms["tasks"], rooms):
            yield rooms["tasks"]

    yield start
    transport = bootstrap.make_tasks(settings, bootstrap.make_database(settings), []).transport
    assert isinstance(transport, CeleryTransport)
    with transport._connect_lazily() as connection:
        connection.default_channel.queue_delete(transport.queue())


def transport_of(tasks: Tasks) -> CeleryTransport:
    assert isinstance(tasks.transport, CeleryTransport)
    return tasks.transport


def connection_to(tasks: Tasks) -> Connection:
    """A connection of the test's own to the server of the queue."""
    return transport_of(tasks)._connect_lazily()


def in_queue(tasks: Tasks) -> int:
    """Number of messages that nobody has taken yet."""
    with connection_to(tasks) as connection:
        queue, channel = transport_of(tasks).queue(), connection.default_channel
        if hasattr(channel, "_size"):  # where kombu plays the server
            return int(channel._size(queue))
        return int(channel.queue_declare(queue, passive=True).message_count)


async def until(reached: Callable[[], bool]) -> None:
    """Return once it is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not reached():  # noqa: ASYNC110  # it happens in another process
            await asyncio.sleep(0.05)


async def seated(tasks: Tasks, task: Task) -> list[int]:
    """Where `sit` has begun: its process, and the one that started it."""
    place: list[int] | None = None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while place is None:
            await asyncio.sleep(0.02)
            place = json.loads((await tasks.get(task.id)).checkpoint or "null")
    return place


class TestConfiguration:
    async def test_one_message_for_each_process(self, pool: Pool) -> None:
        """None waits in a worker while another is free, and those that run are not confirmed."""
        async with pool(concurrency=2, resend_seconds=600) as tasks:
            first = [await tasks.submit(task_jobs.wait) for _ in range(2)]
            for task in first:
                await begun(tasks, task)
            for _ in range(3):
                await tasks.submit(task_jobs.add, a=1)
            await until(lambda: in_queue(tasks) == 3)
            for task in first:
                await tasks.cancel(task.id)
            await until(lambda: in_queue(tasks) == 0)

    async def test_a_job_is_awaited(self, pool: Pool) -> None:
        """Celery would take the coroutine for the result, and call it a success."""
        async with pool() as tasks:
            task = await over(tasks, await tasks.submit(pool_jobs.where))
            assert len(json.loads(task.result or "")) == 2

    async def test_longest_job(self, settings: Settings) -> None:
        async with open_tasks(
            with_tasks(settings), [Job(task_jobs.wait, time_limit_seconds=7_200)]
        ) as rooms:
            configuration = transport_of(rooms["tasks"]).configuration(1)
            assert configuration["task_time_limit"] > 7_200

    async def test_no_setting_of_celerys_own(
        self, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Celery would prefer this variable to what it is told."""
        monkeypatch.setenv("CELERY_BROKER_URL", "memory://")
        async with pool() as tasks:
            assert (await over(tasks, await tasks.submit(task_jobs.add, a=1))).result == "2"


class TestProcesses:
    async def test_killed(self, pool: Pool) -> None:
        async with pool() as tasks:
            task = await tasks.submit(pool_jobs.sit)
            process, _ = await seated(tasks, task)
            os.kill(process, signal.SIGKILL)
            task = await over(tasks, task)
            assert (task.state, task.result) == (State.SUCCEEDED, '"attempt 2"')

    async def test_all_killed(self, pool: Pool) -> None:
        """Others are started when the one has died that starts them."""
        async with pool() as tasks:
            task = await tasks.submit(pool_jobs.sit)
            _, starter = await seated(tasks, task)
            os.kill(starter, signal.SIGKILL)
            task = await over(tasks, task)
            assert (task.state, task.result) == (State.SUCCEEDED, '"attempt 2"')

    async def test_replaced(self, pool: Pool) -> None:
        async with pool(tasks_per_process=1) as tasks:
            results = [
                (await over(tasks, await tasks.submit(pool_jobs.where))).result for _ in range(3)
            ]
            processes = [json.loads(result or "") for result in results]
            assert len({process for process, _ in processes}) == 3
            assert len({starter for _, starter in processes}) == 1

    async def test_blocked_loop(self, pool: Pool) -> None:
        """Its process is ended when its lease has, and the job begins again."""
        async with pool() as tasks:
            task = await over(tasks, await tasks.submit(pool_jobs.block))
            assert (task.state, task.result) == (State.SUCCEEDED, '"attempt 2"')

    async def test_seized_process(self, pool: Pool) -> None:
        """Nothing within such a process can end it: Celery does, from without."""
        async with pool([SEIZING, Job(task_jobs.add, time_limit_seconds=0.5)]) as tasks:
            task = await over(tasks, await tasks.submit(pool_jobs.seize))
            assert (task.state, task.reason) == (State.FAILED, "Its worker died.")
            assert (await over(tasks, await tasks.submit(task_jobs.add, a=1))).result == "2"

    async def test_end_with_the_worker(
        self, settings: Settings, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """A worker that is killed leaves no process behind."""
        gone = asyncio.Event()

        async def held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            gone.set()
            writer.close()

        server = await asyncio.start_server(held, "127.0.0.1", 0)
        chosen = with_tasks(settings, concurrency=1)
        async with server, open_tasks(chosen, POOL_JOBS) as rooms:
            with worker(tmp_path_factory.mktemp("worker"), chosen) as started:
                tasks: Tasks = rooms["tasks"]
                port = server.sockets[0].getsockname()[1]
                await begun(tasks, await tasks.submit(pool_jobs.hold, port=port))
                started.process.kill()
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await gone.wait()


class TestLog:
    async def test_process_that_died(
        self, settings: Settings, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Celery tells of it past its own loggers; it is a line like any other all the same."""
        chosen = with_tasks(settings, concurrency=1)
        async with open_tasks(chosen, POOL_JOBS) as rooms:
            with worker(tmp_path_factory.mktemp("worker"), chosen) as started:
                tasks: Tasks = rooms["tasks"]
                task = await tasks.submit(pool_jobs.sit)
                process, _ = await seated(tasks, task)
                os.kill(process, signal.SIGKILL)
                await over(tasks, task)
                await until(lambda: "SIGKILL" in started.log)
        said = lines_of(started.log)
        lines = [line for line in said if "SIGKILL" in line["event"]]
        # The library of its processes speaks first, then Celery itself.
        assert (lines[0]["logger"], lines[0]["level"]) == ("multiprocessing", "error")
        levels = {line["level"] for line in said if line.get("logger") == "multiprocessing"}
        assert levels == {"error"}


class TestStop:
    async def test_grace(self, pool: Pool) -> None:
        async with pool(stop_timeout_seconds=60) as tasks:
            task = await tasks.submit(pool_jobs.sit, seconds=1)
            await seated(tasks, task)
        async with pool() as tasks:
            task = await over(tasks, task)
            assert (task.attempt, task.result) == (1, '"attempt 1"')

    async def test_longer_than_the_grace(self, pool: Pool) -> None:
        """It is put back, which is no failure."""
        async with pool(stop_timeout_seconds=1) as tasks:
            task = await tasks.submit(pool_jobs.sit)
            await seated(tasks, task)
        async with pool(lease_seconds=600) as tasks:
            task = await over(tasks, task)
            assert (task.result, task.failures) == ('"attempt 2"', 0)

    async def test_all_processes_are_told(self, pool: Pool) -> None:
        """Some managers of services signal each process, which must not cost a job its grace."""
        async with pool() as tasks:
            task = await tasks.submit(pool_jobs.sit, seconds=1)
            process, _ = await seated(tasks, task)
            os.kill(process, signal.SIGTERM)
            task = await over(tasks, task)
            assert (task.attempt, task.result) == (1, '"attempt 1"')

    def test_worker_that_was_killed_at_its_start(self, settings: Settings, tmp_path: Path) -> None:
        """Before its processes had begun to look after it: they end all the same."""
        tasks = bootstrap.make_tasks(settings, bootstrap.make_database(settings), [])
        with subprocess.Popen([sys.executable, "-c", ""]) as killed:
            killed.wait()
        with subprocess.Popen(
            [sys.executable, "-m", "tests.task_pool", str(killed.pid)],
            cwd=tmp_path,
            env=environment(**as_variables(settings)),
            stdin=subprocess.PIPE,
            start_new_session=True,
        ) as orphan:
            assert orphan.stdin is not None
            orphan.stdin.write(json.dumps(transport_of(tasks).configuration(1)).encode() + b"\n")
            orphan.stdin.close()
            try:
                assert orphan.wait(PATIENCE_SECONDS) == -signal.SIGKILL
            finally:
                orphan.kill()


STRANGERS: list[tuple[str, bytes, dict[str, Any]]] = [
    ("not one of Celery's", b'{"id": 1}', {"headers": {}}),
    ("cannot be read", b"[[1], {}, ", {}),
    ("cannot be read", b"\x80\x04K\x01.", {"content_type": "application/x-python-serialize"}),
    ("cannot be read", b"?", {"content_type": "text/unheard-of", "content_encoding": "binary"}),
    ("cannot be read", b"\xff\xfe", {"content_encoding": "binary"}),
    ("for 'celery.chord'", b"[[], {}, {}]", {"headers": {"task": "celery.chord", "id": "1"}}),
    ("for 'reject'", b'[["", ""], {}, {}]', {"headers": {"task": "reject", "id": "1"}}),
    ("names no task", b'[["../../etc"], {}, {}]', {}),
    ("names no task", b"[[], {}, {}]", {}),
    ("names no task", b"[[" + b"1" * 32 + b"], {}, {}]", {}),
    ("names no task", b"5", {}),
]


class TestStrangers:
    async def test_messages(self, pool: Pool) -> None:
        """Each is kept in the ledger as failed, confirmed, and no hindrance."""
        async with pool() as tasks:
            with connection_to(tasks) as connection:
                queue = transport_of(tasks).queue()
                producer = Producer(connection)
                for _, body, options in STRANGERS:
                    usual = {
                        "content_type": "application/json",
                        "content_encoding": "utf-8",
                        "headers": {"task": "perform", "id": "1"},
                    }
                    producer.publish(body, routing_key=queue, **(usual | options))
            assert (await over(tasks, await tasks.submit(task_jobs.add, a=1))).result == "2"
            dead: list[Task] = []
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(dead) < len(STRANGERS):
                    dead = await tasks.ledger.failed(100)
                    await asyncio.sleep(0.05)
            left = [task.error or "" for task in dead]
            for said, _, _ in STRANGERS:
                [*_, found] = [error for error in left if said in error]
                left.remove(found)
            assert not left
            assert json.dumps('[["../../etc"], {}, {}]') in {task.arguments for task in dead}
            assert in_queue(tasks) == 0


class TestFaults:
    async def test_cut_off(self, pool: Pool, settings: Settings) -> None:
        """Submitting is refused at once; what runs goes on, and then the rest."""
        async with Proxy(of_tasks(settings).url) as proxy, pool(url=proxy.url) as tasks:
            running = await tasks.submit(pool_jobs.sit, seconds=2)
            await seated(tasks, running)
            await proxy.cut()
            with pytest.raises(Unavailable):
                await tasks.submit(task_jobs.add, a=1)
            running = await over(tasks, running)
            assert running.attempt == 1
            await proxy.restore()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    try:
                        task = await tasks.submit(task_jobs.add, a=1)
                        break
                    except Unavailable:
                        await asyncio.sleep(0.1)
            assert (await over(tasks, task)).result == "2"

    async def test_silent_server(self, settings: Settings) -> None:
        """One that takes connections and says nothing is not waited for."""
        async with Proxy(of_tasks(settings).url) as proxy:
            proxy.silent = True
            chosen = with_tasks(
                settings, url=proxy.url, timeout_seconds=0.2, start_timeout_seconds=0.1
            )
            with pytest.raises(StartupError, match="correct APP_TASKS__URL"):
                async with open_tasks(chosen):
                    pass

    async def test_server_that_hangs(self, settings: Settings) -> None:
        """Who submits does not wait for those who came before, however many they are."""
        async with Proxy(of_tasks(settings).url) as proxy:
            chosen = with_tasks(settings, url=proxy.url, timeout_seconds=0.5)
            async with open_tasks(chosen) as rooms:
                proxy.silent = True
                refused = await asyncio.gather(
                    *(rooms["tasks"].transport.check() for _ in range(100)), return_exceptions=True
                )
                assert {type(error) for error in refused} == {Unavailable}
                assert proxy.connections < 20

    async def test_no_server(self, settings: Settings) -> None:
        async with Proxy(of_tasks(settings).url) as proxy:
            await proxy.cut()
            chosen = with_tasks(settings, url=proxy.url, start_timeout_seconds=0.1)
            with pytest.raises(StartupError, match="correct APP_TASKS__URL"):
                async with open_tasks(chosen):
                    pass
