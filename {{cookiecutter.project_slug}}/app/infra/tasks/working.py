"""Working: taking tasks from the queue, and looking after those that nobody takes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import structlog

from app.errors import TimedOut, Unavailable
from app.infra.lifecycle import ended
from app.infra.tasks.ledger import Superseded
from app.infra.tasks.performer import Performer
from app.infra.tasks.tasks import Tasks

logger = structlog.get_logger()

_BATCH = 100


@asynccontextmanager
async def working(tasks: Tasks, rooms: Mapping[str, Any]) -> AsyncIterator[Performer]:
    """Perform tasks while the block runs; at its end, running ones have time to finish."""
    settings = tasks.settings
    performer = Performer(tasks.ledger, tasks.jobs, settings, rooms)
    stopping = asyncio.Event()
    consumer = asyncio.create_task(
        tasks.transport.consume(performer, settings.concurrency, stopping)
    )
    sweeper = asyncio.create_task(sweep_until(stopping, tasks, performer))
    try:
        yield performer
    finally:
        stopping.set()
        await asyncio.wait({consumer}, timeout=settings.stop_timeout_seconds)
        performer.interrupt()
        # What was interrupted is put back, which takes no time unless the ledger is away. A sweep
        # ends its unit of work: cancelled, it would leave a connection behind.
        await asyncio.wait({consumer, sweeper}, timeout=settings.stop_timeout_seconds)
        await ended(consumer, sweeper)
        if left := tasks.transport.waiting():
            logger.warning("tasks were not begun", task_ids=left)
            await tasks.ledger.release(left, datetime.now(UTC))


async def sweep_until(stopping: asyncio.Event, tasks: Tasks, performer: Performer) -> None:
    """Sweep every now and then, whatever goes wrong meanwhile."""
    loop = asyncio.get_running_loop()
    patient_until = loop.time()
    while not stopping.is_set():
        try:
            await sweep(tasks, performer, give_up=loop.time() >= patient_until)
        except (Unavailable, TimedOut) as error:
            # Nobody could renew a lease meanwhile: whoever lives has time to do so.
            patient_until = loop.time() + tasks.settings.lease_seconds
            logger.warning("tasks were not looked after", cause=str(error))
        except Exception:
            logger.exception("tasks were not looked after")
        with suppress(TimeoutError):
            async with asyncio.timeout(tasks.settings.sweep_seconds):
                await stopping.wait()


async def sweep(tasks: Tasks, performer: Performer, *, give_up: bool = True) -> None:
    """Submit what is scheduled, send what is due, take back what is lost, forget what is over.

    What was lost is looked at with `give_up` alone.
    """
    now = datetime.now(UTC)
    for task in await tasks.ledger.lapsed(now, _BATCH) if give_up else ():
        if performer.holds(task):
            continue  # its lease could not be renewed in time
        try:
            await performer.give_up(task)
        except Superseded:
            continue  # another process was faster
    await tasks.ledger.forget(now, _BATCH)
    await tasks.submit_due()
    await tasks.relay.send_due()
