"""Celery's side of a worker: the process that takes messages, and those that perform tasks."""

import asyncio
import base64
import binascii
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import structlog
from celery import Celery, platforms, signals
from celery.exceptions import Reject
from celery.utils.log import get_multiprocessing_logger
from celery.worker.consumer import Consumer

from app.errors import StartupError, Unavailable
from app.infra.tasks.broker import described
from app.infra.tasks.celery import PERFORM
from app.infra.tasks.ledger import ID
from app.infra.tasks.performer import Performer
from app.infra.tasks.tasks import Tasks

logger = structlog.get_logger()

Rooms = AbstractAsyncContextManager[Mapping[str, Any]]

_REJECT = "reject"
_LONGEST_MESSAGE = 40_000
_BEAT_SECONDS = 0.5
_PAUSE_SECONDS = 1.0


def run(open_rooms: Callable[[], Rooms]) -> None:
    """Perform tasks until SIGTERM, as a line of standard input configures Celery.

    The first argument of the program is the id of the worker's process, with which this one ends.
    `open_rooms` is called in each process of the pool. On SIGUSR2 they put back what they are at.
    """
    _die_with(int(sys.argv[1]))
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    # Of each message, which the performer tells better.
    logging.getLogger("celery").setLevel(logging.WARNING)
    app = Celery("tasks")
    app.conf.update(json.loads(sys.stdin.readline()))
    process = _PoolProcess(open_rooms)
    app.task(name=PERFORM)(process.perform)
    app.task(name=_REJECT)(process.reject)
    signals.worker_process_init.connect(process.start)
    signals.worker_process_shutdown.connect(process.stop)
    # Whoever listens to this has set up logging.
    signals.setup_logging.connect(_leave_logs_alone)
    worker = app.Worker(
        consumer_cls=_Consumer,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


class _PoolProcess:
    """One process of the pool: its rooms, open on a loop that runs beside Celery."""

    def __init__(self, open_rooms: Callable[[], Rooms]) -> None:
        self._open_rooms = open_rooms
        # What follows is made in the process.
        self._ready: Future[Performer]
        self._performer: Performer
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._thread: threading.Thread
        self._hung_after_seconds = 0.0
        self._beat = 0.0

    def start(self, **_: Any) -> None:
        """Open the rooms, or end the process, in whose place Celery starts another."""
        # It reaches all processes where a service manager sends it, and is for Celery to obey.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self._ready = Future()
        self._thread = threading.Thread(target=self._run, name="rooms", daemon=True)
        self._thread.start()
        try:
            self._performer = self._ready.result()
        except StartupError as error:
            logger.critical("failed to start", error=str(error))
        except Exception:
            logger.critical("failed to start", exc_info=True)
        else:
            signal.signal(signal.SIGUSR2, self._interrupt)
            return
        time.sleep(_PAUSE_SECONDS)
        os._exit(1)

    def stop(self, **_: Any) -> None:
        """Close the rooms."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(self._hung_after_seconds)

    def perform(self, task_id: str) -> None:
        """Perform the task, on the loop; Celery gives the process one at a time."""
        self._wait_for(self._performer.perform(task_id))

    def reject(self, message: str, error: str) -> None:
        """Bury a message, which is in base64."""
        self._wait_for(self._performer.reject(base64.b64decode(message), error))

    def _wait_for(self, work: Any) -> None:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while not future.done():
            try:
                future.result(_BEAT_SECONDS)
            except TimeoutError:
                self._end_if_hung()
            except Unavailable as error:
                # The process ends, and the ledger is out of reach: another one has to try.
                raise Reject(described(error), requeue=True) from error

    def _end_if_hung(self) -> None:
        """A job that blocks the loop cannot renew its lease: it begins again, and not beside us."""
        if time.monotonic() - self._beat > self._hung_after_seconds:
            logger.critical("a job blocks its process, which is ended")
            os._exit(1)

    def _interrupt(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._performer.interrupt)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                logger.critical("the rooms failed", exc_info=True)
                os._exit(1)
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with self._open_rooms() as rooms:
            tasks: Tasks = rooms["tasks"]
            self._hung_after_seconds = tasks.settings.lease_seconds
            self._beat = time.monotonic()
            self._ready.set_result(Performer(tasks.ledger, tasks.jobs, tasks.settings, rooms))
            stopping = asyncio.create_task(self._stopping.wait())
            while not stopping.done():
                self._beat = time.monotonic()
                await asyncio.wait({stopping}, timeout=_BEAT_SECONDS)


class _Consumer(Consumer):  # type: ignore[misc]
    """Hands the pool what it can perform, and what it has to bury."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        # Without the 28 queues in which Celery would let tasks wait.
        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        handle: Callable[[Any], None] = super().create_task_handler(*args, **options)

        def on_message(message: Any) -> None:
            _make_ours(message, _fault(message))
            handle(message)

        self._on_message = on_message
        return on_message

    def on_decode_error(self, message: Any, _error: Exception) -> None:
        message.errors.clear()
        self._on_message(message)


def _fault(message: Any) -> str | None:
    try:
        payload = message.payload
        name = message.headers["task"]
    except KeyError:
        return "This message is not one of Celery's."
    except Exception as error:  # noqa: BLE001  # anything may be in a message
        return f"This message cannot be read: {described(error)}"
    if name != PERFORM:
        return f"This message is for {name!r}, which is unknown."
    match payload:
        case [[str(task_id)], _, _] if ID.fullmatch(task_id):
            return None
    return "This message names no task."


def _make_ours(message: Any, fault: str | None) -> None:
    """Leave nothing of it that Celery would act upon, but the id; or all of it as an argument.

    What is buried so is confirmed once it is in the ledger, like any task.
    """
    if fault is None:
        task, task_id = PERFORM, message.payload[0][0]
        arguments = [task_id]
    else:
        body = message.body or b""
        data = body if isinstance(body, bytes) else str(body).encode()
        arguments = [base64.b64encode(data[:_LONGEST_MESSAGE]).decode(), fault]
        task, task_id = _REJECT, binascii.hexlify(os.urandom(16)).decode()
    message.headers = {"lang": "py", "task": task, "id": task_id}
    message.body = json.dumps([arguments, {}, {}]).encode()
    message.content_type = "application/json"
    message.content_encoding = "utf-8"
    message._decoded_cache = None  # noqa: SLF001  # what was decoded before


def _die_with(parent: int) -> None:
    """End this process, and its children, when its parent is no more."""
    platforms.set_pdeathsig("SIGKILL")  # where there is such a thing

    def look(*_: Any) -> None:
        if os.getppid() != parent:
            os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _PAUSE_SECONDS, _PAUSE_SECONDS)


def _leave_logs_alone(**_: Any) -> None:
    """Logging is set up already, but for the logger that tells of processes that died."""
    processes = get_multiprocessing_logger()
    processes.propagate = True
    # What it says besides is of interest to nobody.
    processes.setLevel(logging.WARNING)
