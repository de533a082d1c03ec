"""Celery as the transport: ids go through its queue, and its processes perform them.

Celery's own states, results, retries, schedules and remote control are not used: the ledger has
them. Celery brings an id to one of its processes, and ends that process when it hangs.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, ClassVar, TypeVar

import structlog
from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import KombuError
from pydantic import Field

from app.infra.tasks.broker import BrokerSettings, described, out_of_reach, patiently
from app.infra.tasks.jobs import Job
from app.infra.tasks.transport import Worker

logger = structlog.get_logger()

Result = TypeVar("Result")

PERFORM = "perform"
"""The name of the one task that Celery knows, whose argument is the id of the real one."""

_ROOM = 1_000
_PAUSE_SECONDS = 1.0
_HEARTBEAT_SECONDS = 10
_START_MARGIN_SECONDS = 60.0


class CelerySettings(BrokerSettings):
    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 4
    """Number of processes of a worker; each runs one job at a time, with rooms of its own."""

    tasks_per_process: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Number of tasks after which a process is replaced, with the memory that leaked in it."""


class CeleryTransport:
    """A `Transport` over one of Celery's brokers; what differs between them is in subclasses."""

    broker: ClassVar[Mapping[str, Any]] = {}
    """What is configured for this broker alone."""

    def __init__(self, settings: CelerySettings, jobs: Sequence[Job], program: str) -> None:
        """`program` is the module in which Celery runs, as `python -m` takes it."""
        self.program = program
        self._settings = settings
        longest_seconds = max((job.time_limit_seconds for job in jobs), default=0.0)
        # The performer ends a job at the job's own limit. What has not ended when its lease would
        # have lapsed cannot be ended so: it holds the whole process.
        self.time_limit_seconds = longest_seconds + settings.lease_seconds
        # Connections of kombu belong to a thread, and block it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="celery")
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._app = Celery("tasks", set_as_current=False)
        self._app.conf.update(self.configuration(settings.concurrency))
        errors = self._connect_lazily()
        self._errors: tuple[type[Exception], ...] = (
            *errors.connection_errors,
            *errors.channel_errors,
            KombuError,
            OSError,
        )

    def queue(self) -> str:
        """The name of the queue: Celery's own, since other libraries declare theirs otherwise."""
        return f"{self._settings.prefix}.celery"

    def options(self) -> dict[str, Any]:
        """How to connect to this broker, for those who take from it and those who give to it."""
        raise NotImplementedError

    def configuration(self, concurrency: int) -> dict[str, Any]:
        """Celery's own settings, as JSON can hold them."""
        settings = self._settings
        return {
            "broker_url": settings.url,
            "broker_connection_timeout": settings.timeout_seconds,
            "broker_connection_retry_on_startup": True,
            "broker_connection_max_retries": None,
            "broker_heartbeat": _HEARTBEAT_SECONDS,
            "broker_transport_options": self.options(),
            "accept_content": ["json"],
            "task_serializer": "json",
            "task_default_queue": self.queue(),
            "task_ignore_result": True,
            # Confirmed when the ledger knows what became of the task, and not when a process dies.
            "task_acks_late": True,
            "task_reject_on_worker_lost": True,
            "task_time_limit": self.time_limit_seconds,
            "worker_concurrency": concurrency,
            # One for each process, so that none waits here while another worker is free.
            "worker_prefetch_multiplier": 1,
            "worker_max_tasks_per_child": settings.tasks_per_process,
            # Opening its rooms is part of a process's start.
            "worker_proc_alive_timeout": settings.start_timeout_seconds + _START_MARGIN_SECONDS,
            "worker_pool_start_method": "fork",
            "worker_enable_remote_control": False,
            "worker_send_task_events": False,
            "worker_hijack_root_logger": False,
            "worker_redirect_stdouts": False,
            **self.broker,
        }

    async def open(self) -> None:
        await patiently(lambda: self._ask(self._connect), self._settings, self._errors)

    async def close(self) -> None:
        await self._ask(self._disconnect)
        self._thread.shutdown(wait=False)

    async def check(self) -> None:
        try:
            # Those before it in the line may wait for a server that hangs.
            async with asyncio.timeout(self._settings.timeout_seconds):
                await self._ask(lambda: self._with_connection(self.ping))
        except self._errors as error:
            raise out_of_reach(error) from error

    def room(self) -> int:
        return _ROOM

    def waiting(self) -> Sequence[str]:
        return ()

    async def send(self, task_ids: Sequence[str]) -> None:
        try:
            for task_id in task_ids:
                await self._ask(partial(self._publish, task_id))
        except self._errors as error:
            raise out_of_reach(error) from error

    async def consume(
        self,
        worker: Worker,  # noqa: ARG002  # each of Celery's processes has one of its own
        concurrency: int,
        stopping: asyncio.Event,
    ) -> None:
        while not stopping.is_set():
            process = await self._start(concurrency)
            ended = asyncio.create_task(process.wait())
            asked = asyncio.create_task(stopping.wait())
            try:
                await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
                if stopping.is_set():
                    await self._stop(process, ended)
                    return
                logger.error("the processes of the worker ended", status=process.returncode)
                await asyncio.wait({asked}, timeout=_PAUSE_SECONDS)
            finally:
                asked.cancel()
                _signal_all(process, signal.SIGKILL)
                await asyncio.shield(ended)

    def declare(self, connection: Connection) -> None:
        """Make the queue, where it is there before anything is in it."""

    def ping(self, connection: Connection) -> None:
        """Raise unless the server answers."""
        raise NotImplementedError

    async def _start(self, concurrency: int) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.program,
            str(os.getpid()),
            stdin=subprocess.PIPE,
            # Celery greets there, and says farewell; it logs where we do.
            stdout=subprocess.DEVNULL,
            # Celery prefers its own variables to what it is configured with.
            env={name: text for name, text in os.environ.items() if not name.startswith("CELERY")},
            # A group of their own, which Ctrl-C does not reach, and which can be told as one.
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101  # see above
        # It ends while it reads, if at all, and then we are told so.
        with suppress(ConnectionError):
            process.stdin.write(json.dumps(self.configuration(concurrency)).encode() + b"\n")
            await process.stdin.drain()
            process.stdin.close()
        return process

    async def _stop(self, process: Process, ended: "asyncio.Task[int]") -> None:
        with suppress(ProcessLookupError):
            # Celery takes no more tasks, and ends when those that run have ended.
            process.terminate()
        await asyncio.wait({ended}, timeout=self._settings.stop_timeout_seconds)
        # They put back what they are at.
        _signal_all(process, signal.SIGUSR2)
        await asyncio.shield(ended)

    async def _ask(self, ask: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, ask)

    def _connect_lazily(self) -> Connection:
        settings = self._settings
        # Explicitly: variables of Celery's would come first. Nobody would answer heartbeats here.
        return self._app.connection_for_write(url=settings.url, heartbeat=0)

    def _connect(self) -> None:
        self._disconnect()
        self._connection = connection = self._connect_lazily()
        # By itself it would try for minutes.
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        self._producer = Producer(connection.default_channel)
        self.declare(connection)

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is None:
            return
        try:
            # Without a word, for a server that is gone would be waited for.
            connection.collect(socket_timeout=self._settings.timeout_seconds)
        except Exception as error:  # noqa: BLE001  # whatever it was, the connection is gone
            logger.info("the queue was left without a word", cause=described(error))

    def _publish(self, task_id: str) -> None:
        timeout_seconds = self._settings.timeout_seconds

        def publish(_: Connection) -> None:
            self._app.send_task(
                PERFORM,
                (task_id,),
                task_id=task_id,
                producer=self._producer,
                retry=False,
                timeout=timeout_seconds,
                confirm_timeout=timeout_seconds,
            )

        self._with_connection(publish)

    def _with_connection(self, use: Callable[[Connection], None]) -> None:
        """Use the connection, and a new one when that has died since it was used last."""
        if self._connection is not None:
            try:
                return use(self._connection)
            except TimeoutError:
                self._disconnect()
                raise
            except self._errors:
                self._disconnect()
        self._connect()
        assert self._connection is not None  # noqa: S101  # just made
        return use(self._connection)


def _signal_all(process: Process, number: signal.Signals) -> None:
    """Tell Celery and the processes of its pool, if there are any left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
