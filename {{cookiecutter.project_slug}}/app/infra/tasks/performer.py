"""Performing tasks: one attempt at a time, each held by a lease."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError
from pydantic_core import to_json

from app.errors import ServiceError, TimedOut, Unavailable
from app.infra import logs
from app.infra.lifecycle import ended
from app.infra.monitoring import Counter, Histogram, continued, failed, refused
from app.infra.tasks.jobs import Job, Jobs
from app.infra.tasks.ledger import MAXIMUM_BYTES, Ledger, State, Superseded, Task, new_id
from app.infra.tasks.settings import TaskSettings

logger = structlog.get_logger()

Result = TypeVar("Result")

STARTED = Counter("task_attempts_started_total", "Attempts at tasks", ["task"])
ENDED = Counter("task_attempts_total", "Attempts that have ended, by how", ["task", "outcome"])
RETRIED = Counter("task_retries_total", "Failures that another attempt follows", ["task"])
DEAD = Counter("tasks_dead_total", "Tasks that were given up", ["task"])
DURATION = Histogram("task_duration_seconds", "Attempts, however they ended", ["task"])

_PAUSE_MAXIMUM_SECONDS = 5.0
_LONGEST_ERROR = 1_000
_LONGEST_MESSAGE = 10_000
_UNREADABLE = "(unreadable)"


@dataclass
class Attempt:
    """A `Run`."""

    task: Task
    rooms: Mapping[str, Any]
    ledger: Ledger
    checkpoint: Any

    @property
    def task_id(self) -> str:
        return self.task.id

    @property
    def attempt(self) -> int:
        return self.task.attempt

    async def save(
        self, checkpoint: Any = None, *, done: int = 0, total: int | None = None
    ) -> None:
        text = None if checkpoint is None else _bounded(to_json(checkpoint).decode())
        await self.ledger.save(self.task, text, done, total)


class Performer:
    """Performs tasks by id, any number at once."""

    def __init__(
        self,
        ledger: Ledger,
        jobs: Jobs,
        settings: TaskSettings,
        rooms: Mapping[str, Any],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger = ledger
        self._jobs = jobs
        self._settings = settings
        self._rooms = rooms
        self._clock = clock
        self._running: dict[asyncio.Task[Any], Task] = {}
        self._held: set[tuple[str, int]] = set()
        self._interrupted = False
        for name in jobs:
            for counter in (STARTED, RETRIED, DEAD):
                counter.expect(name)
            for outcome in ("succeeded", "failed", "cancelled", "interrupted"):
                ENDED.expect(name, outcome)

    async def perform(self, task_id: str) -> None:
        """Make an attempt at the task, unless somebody else does or it is over.

        Raises:
            Unavailable: the process is about to end, and the ledger out of reach.
        """
        task = await self._surely(
            lambda: self._ledger.claim(task_id, self._clock(), self._lease_end())
        )
        if task is None:
            return
        self._held.add((task.id, task.attempt))
        try:
            await self._attempt(task)
        except Superseded:
            logger.warning("job was superseded", task=task.name, task_id=task.id)
        except Unavailable:
            raise
        except Exception:
            # Its lease ends, and a sweep takes it back.
            logger.exception("task was left", task=task.name, task_id=task.id)
        finally:
            self._held.discard((task.id, task.attempt))

    def holds(self, task: Task) -> bool:
        """Whether an attempt at `task` is made here, or how it ended is being written down."""
        return (task.id, task.attempt) in self._held

    async def give_up(self, task: Task) -> None:
        """Put a task back whose worker has died, or bury it when that was its last attempt."""
        job = self._jobs.get(task.name)
        error = f"The worker of attempt {task.attempt} died, or hung."
        await self._after_failure(task, job, error, "Its worker died.")

    async def reject(self, message: bytes, error: str) -> None:
        """Bury a message that is none of ours."""
        now = self._clock()
        text = message[:_LONGEST_MESSAGE].decode(errors="replace").replace("\0", "�")
        task = Task(
            id=new_id(),
            name=_UNREADABLE,
            arguments=to_json(text).decode(),
            created_at=now,
            due_at=now,
            look_at=now + timedelta(seconds=self._settings.dead_ttl_seconds),
            state=State.FAILED,
            finished_at=now,
            error=error[:_LONGEST_ERROR],
        )
        logger.error("message is dead", task_id=task.id, error=error)
        DEAD.add(task.name)
        await self._surely(lambda: self._ledger.add(task, lambda: None))

    def interrupt(self) -> None:
        """Cut short what is running; it begins again elsewhere, at once."""
        self._interrupted = True
        for work, task in self._running.items():
            logger.warning("job interrupted", task=task.name, task_id=task.id)
            work.cancel()

    async def _attempt(self, task: Task) -> None:
        if task.cancelling:
            # The attempt before was cut short before it heard of it.
            ENDED.add(task.name, "cancelled")
            await self._finish(task, State.CANCELLED)
            return
        job = self._jobs.get(task.name)
        if job is None:
            await self._bury(task, f"There is no job {task.name!r} in this release.")
            return
        try:
            arguments = job.unpack(task.arguments)
        except ValidationError as error:
            await self._bury(task, f"{task.name} does not take these arguments: {error}")
            return
        checkpoint = None if task.checkpoint is None else json.loads(task.checkpoint)
        run = Attempt(task, self._rooms, self._ledger, checkpoint)
        token = logs.request_id.set(task.request_id or task.id)
        try:
            with continued(task.name, task.trace):
                await self._watched(task, job, run, arguments)
        finally:
            logs.request_id.reset(token)

    async def _watched(
        self, task: Task, job: Job, run: Attempt, arguments: Mapping[str, Any]
    ) -> None:
        STARTED.add(task.name)
        started = time.perf_counter()
        work = asyncio.create_task(job.function(run, **arguments))
        renewal = asyncio.create_task(self._renew(task, work))
        self._running[work] = task
        try:
            if self._interrupted:
                work.cancel()
            await asyncio.wait({work}, timeout=self._seconds_left(task, job))
            late = not work.done()
        finally:
            await ended(work, renewal)
            del self._running[work]
        seconds = time.perf_counter() - started
        DURATION.observe(seconds, task.name)
        duration_ms = round(seconds * 1e3, 1)
        log = logger.bind(
            task=task.name, task_id=task.id, attempt=task.attempt, duration_ms=duration_ms
        )
        if not work.cancelled():
            await self._conclude(task, job, work, log)
        elif not renewal.cancelled() and (lost := renewal.exception()):
            raise lost
        elif late:
            error = TimeoutError()
            refused(error)
            await self._fail(task, job, error, "It took too long.")
            log.warning("job took too long")
        elif not renewal.cancelled():
            ENDED.add(task.name, "cancelled")
            await self._finish(task, State.CANCELLED)
            log.info("job cancelled")
        else:
            ENDED.add(task.name, "interrupted")
            await self._surely(lambda: self._ledger.postpone(task, self._clock(), failed=False))

    async def _conclude(self, task: Task, job: Job, work: asyncio.Task[Any], log: Any) -> None:
        error = work.exception()
        if isinstance(error, Superseded):
            raise error
        if error is None:
            try:
                result = _bounded(job.pack_result(work.result()))
            except ValueError as unfit:
                error = unfit
        if error is None:
            ENDED.add(task.name, "succeeded")
            await self._finish(task, State.SUCCEEDED, result=result)
            log.info("job succeeded")
            return
        log.warning("job failed", exc_info=error, error=_described(error))
        if isinstance(error, ServiceError):
            refused(error)
        else:
            failed(error, task=task.name, task_id=task.id)
        reason = error.detail if isinstance(error, ServiceError) else "The job failed."
        await self._fail(task, job, error, reason)

    async def _fail(self, task: Task, job: Job, error: BaseException, reason: str) -> None:
        ENDED.add(task.name, "failed")
        if isinstance(error, job.retry_on):
            await self._after_failure(task, job, _described(error), reason)
        else:
            await self._bury(task, _described(error), reason)

    async def _after_failure(self, task: Task, job: Job | None, error: str, reason: str) -> None:
        failures = task.failures + 1
        if job is None or failures >= job.attempts:
            await self._bury(task, error, reason)
            return
        RETRIED.add(task.name)
        due_at = self._clock() + job.backoff(failures)
        await self._surely(lambda: self._ledger.postpone(task, due_at, failed=True, error=error))

    async def _bury(self, task: Task, error: str, reason: str = "The job failed.") -> None:
        DEAD.add(task.name)
        logger.error("task is dead", task=task.name, task_id=task.id, error=error)
        await self._finish(task, State.FAILED, reason=reason, error=error[:_LONGEST_ERROR])

    async def _finish(self, task: Task, state: State, **details: str) -> None:
        now = self._clock()
        ttl_seconds = (
            self._settings.dead_ttl_seconds
            if state == State.FAILED
            else self._settings.result_ttl_seconds
        )
        ttl = timedelta(seconds=ttl_seconds)
        job = self._jobs.get(task.name)
        if job is not None and job.every is not None:
            # Its key tells that this tick has been.
            ttl = max(ttl, 2 * job.every)
        await self._surely(lambda: self._ledger.finish(task, state, now, now + ttl, **details))

    async def _renew(self, task: Task, work: asyncio.Task[Any]) -> None:
        """Returns when the task is to be cancelled, raises when it is another's."""
        while True:
            await asyncio.sleep(self._settings.lease_seconds / 3)
            try:
                goes_on = await self._ledger.renew(task, self._lease_end())
            except Superseded:
                work.cancel()
                raise
            except (Unavailable, TimedOut):
                logger.warning("lease was not renewed", task=task.name, task_id=task.id)
                continue
            if not goes_on:
                work.cancel()
                return

    def _lease_end(self) -> datetime:
        return self._clock() + timedelta(seconds=self._settings.lease_seconds)

    def _seconds_left(self, task: Task, job: Job) -> float:
        if task.deadline_at is None:
            return job.time_limit_seconds
        until_deadline = (task.deadline_at - self._clock()).total_seconds()
        return max(0.0, min(job.time_limit_seconds, until_deadline))

    async def _surely(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask the ledger until it answers: a worker is of no use without it."""
        pause_seconds = 0.1
        # Before a sweep, which leaves a lease of time when the ledger is back, gives the task up.
        longest_seconds = min(_PAUSE_MAXIMUM_SECONDS, self._settings.lease_seconds / 3)
        while True:
            try:
                return await ask()
            except (Unavailable, TimedOut):
                if self._interrupted:
                    raise
                logger.warning("the ledger of tasks does not answer")
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, longest_seconds)


def _bounded(text: str) -> str:
    if len(text.encode()) > MAXIMUM_BYTES:
        raise ValueError(f"what a job returns or saves may have {MAXIMUM_BYTES:,} bytes as JSON")
    return text


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")[:_LONGEST_ERROR]
