"""What the rest of the service calls: submit work, see what becomes of it, cancel it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from app.errors import NotFound
from app.infra import logs
from app.infra.lifecycle import ended
from app.infra.monitoring import carried, part
from app.infra.tasks.jobs import Function, Job, Jobs
from app.infra.tasks.ledger import MAXIMUM_BYTES, Backlog, Ledger, Task, new_id
from app.infra.tasks.relay import Relay
from app.infra.tasks.settings import TaskSettings
from app.infra.tasks.transport import Transport

logger = structlog.get_logger()

_NOW = timedelta()
_LONGEST_KEY = 200


class Tasks:
    """Work that outlives the request that asked for it."""

    name = "tasks"

    def __init__(
        self,
        ledger: Ledger,
        transport: Transport,
        jobs: Sequence[Job],
        settings: TaskSettings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.ledger = ledger
        self.transport = transport
        self.jobs = Jobs(jobs)
        self.settings = settings
        self.relay = Relay(ledger, transport, settings.resend_seconds, clock)
        self._clock = clock
        self._sender: asyncio.Task[None] | None = None
        self._ticks: dict[str, int] = {}

    async def open(self) -> None:
        """Connect to the queue; raises `StartupError` when it does not answer."""
        await self.transport.open()
        self._sender = asyncio.create_task(self.relay.run())

    async def close(self) -> None:
        await ended(self._sender)
        await self.transport.close()

    async def check(self) -> None:
        """Raise unless tasks can be sent."""
        await self.transport.check()

    async def submit(
        self,
        function: Function,
        /,
        *,
        key: str | None = None,
        delay: timedelta = _NOW,
        deadline: timedelta | None = None,
        **arguments: Any,
    ) -> Task:
        """Have `function` run with `arguments`, at least once, after the unit of work around.

        With a unit of work that is undone, the task is too. When one with the same `key` waits,
        runs or has succeeded, that one is returned. It begins after `delay`, and what has not
        ended `deadline` from now fails.

        Raises:
            Unavailable: the queue is full, or does not answer; nothing was kept.
            TypeError: the function is no job.
            ValueError: it does not take these arguments, or they are too large.
        """
        job = self.jobs.of(function)
        packed = job.pack(arguments)
        if len(packed.encode()) > MAXIMUM_BYTES:
            raise ValueError(
                f"{job.name} was given more than {MAXIMUM_BYTES:,} bytes; keep them in a table"
                " and submit their id"
            )
        if key is not None and len(key) > _LONGEST_KEY:
            raise ValueError(f"a key has at most {_LONGEST_KEY} characters")
        with part(f"submit {job.name}"):
            await self.transport.check()
            return await self._add(job, packed, key=key, delay=delay, deadline=deadline)

    async def get(self, task_id: str) -> Task:
        """Raises `NotFound`."""
        return _found(await self.ledger.read(task_id), task_id)

    async def cancel(self, task_id: str) -> Task:
        """End a task that waits; one that runs is told, and ends soon. Raises `NotFound`."""
        now = self._clock()
        forgotten_at = now + timedelta(seconds=self.settings.result_ttl_seconds)
        return _found(await self.ledger.cancel(task_id, now, forgotten_at), task_id)

    async def revive(self, task_id: str) -> bool:
        """Run a failed task again, as if new; whether there was one."""
        return await self.ledger.revive(task_id, self._clock())

    async def submit_due(self) -> None:
        """Submit the jobs that run by themselves, once per tick whoever else does so too."""
        now = self._clock()
        for job in self.jobs.values():
            if job.every is not None:
                tick = int(now.timestamp() // job.every.total_seconds())
                if tick != self._ticks.get(job.name):
                    await self._add(job, job.pack({}), key=f"tick {tick}", once=True)
                    self._ticks[job.name] = tick

    async def backlog(self) -> list[Backlog]:
        """What waits and what runs, by job."""
        return await self.ledger.backlog()

    async def _add(
        self,
        job: Job,
        arguments: str,
        *,
        key: str | None,
        delay: timedelta = _NOW,
        deadline: timedelta | None = None,
        once: bool = False,
    ) -> Task:
        now = self._clock()
        due_at = now + delay
        task = Task(
            id=new_id(),
            name=job.name,
            arguments=arguments,
            created_at=now,
            due_at=due_at,
            # At once it is sent by who submits it; the sweep does so should that process die.
            look_at=due_at if delay else self.relay.again_at(0),
            key=key,
            deadline_at=None if deadline is None else now + deadline,
            request_id=logs.request_id.get(),
            trace=carried(),
        )

        def kept() -> None:
            if not delay:
                self.relay.announce(task.id)

        return await self.ledger.add(task, kept, once=once)


def _found(task: Task | None, task_id: str) -> Task:
    if task is None:
        raise NotFound(f"There is no task {task_id}; it may have been forgotten.")
    return task
