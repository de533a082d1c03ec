"""Jobs to test with."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from app.errors import NotFound, Unavailable
from app.infra.tasks import Job, Run

ended: list[str] = []
"""Tasks whose job has come to its end in this process."""


async def add(run: Run, a: int, b: int = 1) -> int:
    """The sum."""
    ended.append(run.task_id)
    return a + b


async def refuse(_run: Run, detail: str) -> None:
    """Fail for a reason that the client may know."""
    raise NotFound(detail)


async def crash(_run: Run) -> None:
    """Fail for a reason that is nobody's business."""
    raise RuntimeError("the password is 1234")


async def recover(run: Run, failures: int) -> int:
    """Fail so often, and then say at which attempt it went well."""
    if run.attempt <= failures:
        raise Unavailable("not yet")
    return run.attempt


async def wait(run: Run, seconds: float = 60) -> str:
    """Take a while."""
    await asyncio.sleep(seconds)
    ended.append(run.task_id)
    return "done"


async def climb(run: Run, steps: int, stop_at: int | None = None) -> list[int]:
    """Go up step by step from where the last attempt ended; fail once at `stop_at`."""
    climbed: list[int] = run.checkpoint or []
    for step in range(len(climbed), steps):
        if step == stop_at and run.attempt == 1:
            raise Unavailable("out of breath")
        climbed.append(step)
        await run.save(climbed, done=step + 1, total=steps)
    return climbed


async def tick(_run: Run) -> None:
    """Run by itself."""


async def look(run: Run) -> Mapping[str, Any]:
    """What a job is told."""
    return {"attempt": run.attempt, "task_id": run.task_id, "rooms": sorted(run.rooms)}


async def swell(_run: Run, size: int) -> str:
    """Return too much."""
    return "x" * size


JOBS = [
    Job(add),
    Job(refuse),
    Job(crash),
    Job(recover, retry_on=(Unavailable,), attempts=3, backoff_seconds=0.05),
    Job(wait, time_limit_seconds=600),
    Job(climb, retry_on=(Unavailable,), backoff_seconds=0.05),
    Job(look),
    Job(swell),
]
PERIODIC = Job(tick, every=timedelta(seconds=1))
LIMITED = Job(wait, time_limit_seconds=0.3)
