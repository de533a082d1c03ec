"""Jobs that try the patience of a pool of processes, and tell where they run."""

import asyncio
import os
import re
import time

from app.infra.tasks import Job, Run
from tests.task_jobs import JOBS
from tests.task_table import EFFECT


async def where(_run: Run) -> list[int]:
    """The process, and the one that started it."""
    await asyncio.sleep(0)
    return [os.getpid(), os.getppid()]


async def sit(run: Run, seconds: float = 60) -> str:
    """Say in which process, and stay in it for a while."""
    await run.save([os.getpid(), os.getppid()])
    await asyncio.sleep(seconds if run.attempt == 1 else 0)
    return f"attempt {run.attempt}"


async def hold(_run: Run, port: int) -> None:
    """Hold a connection to whoever listens there for as long as the process lives."""
    reader, _writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.read()


async def block(run: Run) -> str:
    """Block the loop of the process, at the first attempt."""
    if run.attempt == 1:
        time.sleep(3_600)  # noqa: ASYNC251  # that is the point
    return f"attempt {run.attempt}"


async def seize(_run: Run) -> None:
    """Let nothing else happen in the process, for ever."""
    re.match("(a+)+$", "a" * 64 + "b")


SEIZING = Job(seize, attempts=1, time_limit_seconds=0.5)
POOL_JOBS = [
    *JOBS,
    EFFECT,
    Job(where),
    Job(sit, backoff_seconds=0.05),
    Job(hold),
    Job(block, backoff_seconds=0.05),
    SEIZING,
]
