"""`python -m app tasks`."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest

from app import bootstrap
from app.infra.tasks import State
from app.infra.tasks.ledger import Task
from app.settings import Settings
from tests.databases import migrate, with_database
from tests.infra.tasks.books import at, make_task
from tests.processes import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("startable")]


async def bury(url: str, *names: str) -> list[Task]:
    """Tasks that have failed, in the database at `url`."""
    settings = with_database(Settings(), url=url)
    await migrate(settings)
    dead = []
    async with bootstrap.open_ledger(settings) as ledger:
        for number, name in enumerate(names, start=1):
            await ledger.add(make_task(number, name=name), lambda: None)
            claimed = await ledger.claim(make_task(number).id, at(0), at(9))
            assert claimed is not None
            forgotten = at(0) + timedelta(days=36_500)
            await ledger.finish(
                claimed, State.FAILED, at(number), forgotten, error=f"It is {name}."
            )
            dead.append(claimed)
    return dead


async def states(url: str) -> dict[str, int]:
    """How many wait, by name."""
    async with bootstrap.open_ledger(with_database(Settings(), url=url)) as ledger:
        return {backlog.name: backlog.queued for backlog in await ledger.backlog()}


def test_dead(new_database: str, tmp_path: Path) -> None:
    """They are listed, the latest first, and run again when told to."""
    first, second = asyncio.run(bury(new_database, "one", "two"))
    listed = run(tmp_path, "tasks", "dead", "list")
    assert listed.returncode == 0, listed.stderr
    lines = [line for line in listed.stdout.splitlines() if re.match("[0-9a-f]{32} ", line)]
    assert [line[:32] for line in lines] == [second.id, first.id]
    assert "It is two." in lines[0]

    retried = run(tmp_path, "tasks", "dead", "retry", first.id)
    assert "1 task will run again." in retried.stdout, retried.stderr
    assert asyncio.run(states(new_database)) == {"one": 1}
    assert "one: 1 waiting, 0 running" in run(tmp_path, "tasks", "stats").stdout

    unknown = run(tmp_path, "tasks", "dead", "retry", first.id)
    assert unknown.returncode == 1
    assert "tasks dead list" in unknown.stderr.splitlines()[-1]

    assert "1 task will" in run(tmp_path, "tasks", "dead", "retry", "--all").stdout
    assert asyncio.run(states(new_database)) == {"one": 1, "two": 1}
    assert run(tmp_path, "tasks", "dead", "retry").returncode == 2
