"""How much work waits, and since when."""

import time

from app.infra.monitoring.instruments import Gauge
from app.infra.tasks import Tasks

QUEUED = Gauge("tasks_queued", "Tasks that wait", ["task"], across="latest")
RUNNING = Gauge("tasks_running", "Tasks that somebody performs", ["task"], across="latest")
OLDEST = Gauge(
    "tasks_oldest_age_seconds", "Since when the one waits that waits longest", ["task"],
    across="latest",
)  # fmt: skip


class TaskSamples:
    """Looks at the book of tasks."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    async def take(self) -> None:
        now = time.time()
        backlog = {each.name: each for each in await self._tasks.backlog()}
        for name in self._tasks.jobs:
            waits = backlog.get(name)
            QUEUED.set(waits.queued if waits else 0, name)
            RUNNING.set(waits.running if waits else 0, name)
            due = waits.oldest_due_at if waits else None
            OLDEST.set(max(0.0, now - due.timestamp()) if due else 0.0, name)
