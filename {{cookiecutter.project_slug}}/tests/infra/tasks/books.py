"""Ledgers to test with: in memory always, and in a table where there is one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from app.infra.tasks.ledger import Ledger, Task
from app.infra.tasks.memory import MemoryLedger
from app.settings import Settings
from tests.task_rooms import TABLE

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
KINDS = ["memory", "table"] if TABLE else ["memory"]
LIMIT = 50


def at(seconds: float) -> datetime:
    """So long after the start of the test."""
    return START + timedelta(seconds=seconds)


def make_task(number: int = 1, **changes: Any) -> Task:
    """A task that is due at the start and looked at 10 seconds later."""
    values = {
        "id": f"{number:032x}",
        "name": "job",
        "arguments": "{}",
        "created_at": START,
        "due_at": START,
        "look_at": at(10),
    }
    return Task(**{**values, **changes})


@asynccontextmanager
async def open_ledger(kind: str, settings: Settings) -> AsyncIterator[Ledger]:
    """An empty ledger."""
    if kind == "memory":
        yield MemoryLedger(limit=LIMIT)
        return
    async with import_module("app.bootstrap").open_ledger(settings) as ledger:
        yield ledger
