"""The book of all tasks: what is to be done, what is being done, and what became of it.

A queue carries nothing but the ids of tasks. What a task is, and who holds it, stands here, so that
a message that is lost, doubled or late changes nothing.
"""

import enum
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

MAXIMUM_BYTES = 60_000
"""Of arguments, a result or a checkpoint; more belongs where it can be looked up."""

ID = re.compile("[0-9a-f]{32}")
"""What the id of a task looks like."""


def new_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(16)


class State(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        return self not in {State.QUEUED, State.RUNNING}


class Superseded(Exception):
    """This attempt is not the current one any more; nothing that it does is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A line of the book."""

    id: str
    """32 hexadecimal digits, which nobody can guess."""
    name: str
    arguments: str
    """JSON, like `checkpoint` and `result`."""
    created_at: datetime
    due_at: datetime
    """When it may begin."""
    look_at: datetime
    """When a sweep looks at it: to send it, to take it from a dead worker, or to forget it."""
    key: str | None = None
    """Says which submissions mean the same task."""
    deadline_at: datetime | None = None
    """When nobody needs it any more."""
    request_id: str | None = None
    trace: str | None = None
    """What was under way when it was submitted, as a `traceparent` of W3C's Trace Context."""
    state: State = State.QUEUED
    sends: int = 0
    attempt: int = 0
    """Counts the attempts, and tells the current one from those before."""
    failures: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    done: int = 0
    total: int | None = None
    checkpoint: str | None = None
    result: str | None = None
    reason: str | None = None
    """Why it failed, for whoever submitted it."""
    error: str | None = None
    """Why it failed, for whoever has to mend it."""
    cancelling: bool = False


@dataclass(frozen=True, slots=True)
class Backlog:
    """The tasks of one name that are not over."""

    name: str
    queued: int
    running: int
    oldest_due_at: datetime | None
    """Since when the one has been due that waits longest."""


class Ledger(Protocol):
    """Where tasks are kept.

    What changes a running task names it as it was claimed, and raises `Superseded` when another
    attempt has begun or it is over. All of it may raise `Unavailable`, or `TryAgain`.
    """

    async def add(self, task: Task, kept: Callable[[], None], *, once: bool = False) -> Task:
        """Keep a new task and call `kept` when that is certain; within a unit of work, with it.

        When there is one of its name and key already, which is not over or has succeeded, that one
        is returned instead. With `once`, however it ended.

        Raises:
            Unavailable: there are too many already.
        """

    async def read(self, task_id: str) -> Task | None: ...

    async def claim(self, task_id: str, now: datetime, look_at: datetime) -> Task | None:
        """Begin an attempt; None unless the task is queued."""

    async def renew(self, task: Task, look_at: datetime) -> bool:
        """Put off when the worker is taken for dead; whether the task may go on."""

    async def save(self, task: Task, checkpoint: str | None, done: int, total: int | None) -> None:
        """Note how far an attempt has come; within a unit of work, with it."""

    async def finish(
        self,
        task: Task,
        state: State,
        now: datetime,
        look_at: datetime,
        *,
        result: str | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        """Note how a task ended, until it is forgotten at `look_at`."""

    async def postpone(
        self, task: Task, due_at: datetime, *, failed: bool, error: str | None = None
    ) -> None:
        """Put a running task back, to begin again; `failed` counts as one of its failures."""

    async def cancel(self, task_id: str, now: datetime, look_at: datetime) -> Task | None:
        """End a queued task, ask a running one to end; the task as it is then."""

    async def due(
        self, now: datetime, limit: int, again_at: Callable[[int], datetime]
    ) -> list[str]:
        """Ids of queued tasks to be sent now, of which nobody else is told.

        The next look at each is at what `again_at` makes of how often it was sent before.
        """

    async def release(self, task_ids: Sequence[str], now: datetime) -> None:
        """Let the next sweep send those that are queued: who had them does not get to them."""

    async def lapsed(self, now: datetime, limit: int) -> list[Task]:
        """Running tasks whose worker must have died."""

    async def forget(self, now: datetime, limit: int) -> int:
        """Remove tasks that are over and past their time; how many."""

    async def failed(self, limit: int) -> list[Task]:
        """Failed tasks, the latest first."""

    async def revive(self, task_id: str, now: datetime) -> bool:
        """Queue a failed task again, as if new; whether there was one."""

    async def backlog(self) -> list[Backlog]:
        """What is not over, by name."""
