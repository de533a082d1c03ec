"""A queue in the memory of the process that serves requests."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Annotated

import structlog
from pydantic import Field

from app.errors import Unavailable
from app.infra.tasks.settings import TaskSettings
from app.infra.tasks.transport import Worker

logger = structlog.get_logger()


class InProcessSettings(TaskSettings):
    queue_limit: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Number of tasks that may wait in one process; beyond it, submitting one is answered 503."""


class InProcess:
    """A bounded queue, emptied by the process that fills it."""

    def __init__(self, settings: InProcessSettings) -> None:
        self._limit = settings.queue_limit
        self._waiting: deque[str] = deque()
        self._known: set[str] = set()
        self._news = asyncio.Event()

    async def open(self) -> None:
        """Nothing has to be connected."""

    async def close(self) -> None:
        """Nothing is connected."""

    async def check(self) -> None:
        if not self.room():
            raise Unavailable("Too many tasks are waiting; try again later.", retry_after_seconds=5)

    def room(self) -> int:
        return max(0, self._limit - len(self._waiting))

    async def send(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            if task_id in self._known:
                continue
            await self.check()
            self._known.add(task_id)
            self._waiting.append(task_id)
        self._news.set()

    def waiting(self) -> Sequence[str]:
        return tuple(self._waiting)

    async def consume(self, worker: Worker, concurrency: int, stopping: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._consume(worker, stopping))
            await stopping.wait()
            self._news.set()

    async def _consume(self, worker: Worker, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            if self._waiting:
                task_id = self._waiting.popleft()
                self._known.discard(task_id)
                try:
                    await worker.perform(task_id)
                except Unavailable:
                    pass  # the ledger is out of reach, and knows what was not done
                except Exception:
                    # A sweep sends it again; those that follow are performed all the same.
                    logger.exception("task was left", task_id=task_id)
            else:
                self._news.clear()
                await self._news.wait()
