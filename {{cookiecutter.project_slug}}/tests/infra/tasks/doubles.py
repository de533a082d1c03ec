"""Background work in memory, with a clock that the test sets."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from app.infra.lifecycle import opened
from app.infra.tasks import Job, Tasks
from app.infra.tasks.in_process import InProcess, InProcessSettings
from app.infra.tasks.memory import MemoryLedger
from app.infra.tasks.performer import Performer
from tests.infra.tasks.books import START
from tests.task_jobs import JOBS
from tests.task_rooms import QUICK


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Double:
    """Tasks in memory, and who performs them when told to."""

    def __init__(self, jobs: Sequence[Job] = JOBS, **settings: Any) -> None:
        self.clock = Clock()
        self.settings = InProcessSettings(**{**QUICK, **settings})
        self.ledger = MemoryLedger(limit=self.settings.queue_limit)
        self.queue = InProcess(self.settings)
        self.tasks = Tasks(self.ledger, self.queue, jobs, self.settings, self.clock)
        self.performer = self.another()

    def another(self) -> Performer:
        """Another one who performs them."""
        return Performer(self.ledger, self.tasks.jobs, self.settings, {}, self.clock)


@asynccontextmanager
async def open_double(*jobs: Job, **settings: Any) -> AsyncIterator[Double]:
    """A double whose tasks are sent; nobody performs them."""
    double = Double(jobs or JOBS, **settings)
    async with opened(double.tasks):
        yield double
