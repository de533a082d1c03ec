"""`python -m app tasks`: what waits, what has failed, and running it again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TypeVar

import click

from app.errors import StartupError
from app.infra.tasks.ledger import Backlog, Ledger, Task

Result = TypeVar("Result")
OpenLedger = Callable[[], AbstractAsyncContextManager[Ledger]]

_EVERYTHING = 1_000_000


def add_to(group: click.Group, open_ledger: OpenLedger) -> None:
    """Add the commands of this room; `open_ledger` reads the settings when one is run."""

    def run(work: Callable[[Ledger], Awaitable[Result]]) -> Result:
        async def run() -> Result:
            async with open_ledger() as ledger:
                return await work(ledger)

        return asyncio.run(run())

    @group.group(name="tasks")
    def commands() -> None:
        """Look at background work, and run again what has failed."""

    @commands.command()
    def stats() -> None:
        """Print what waits and what runs, by job."""
        _print_backlog(run(lambda ledger: ledger.backlog()))

    @commands.group()
    def dead() -> None:
        """The tasks that were given up."""

    @dead.command(name="list")
    @click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
    def list_dead(limit: int) -> None:
        """Print them, the latest first: id, job, when it failed, attempts, why."""
        for task in run(lambda ledger: ledger.failed(limit)):
            at = "" if task.finished_at is None else task.finished_at.isoformat(timespec="seconds")
            click.echo(f"{task.id}  {task.name}  {at}  {task.attempt}  {_line(task.error)}")

    @dead.command()
    @click.argument("task_ids", metavar="[ID]...", nargs=-1)
    @click.option("--all", "everything", is_flag=True, help="Run all of them again.")
    def retry(task_ids: Sequence[str], everything: bool) -> None:
        """Run tasks again that were given up."""
        if bool(task_ids) == everything:
            raise click.UsageError("Name the tasks, or give --all.")
        revived = run(lambda ledger: _revive(ledger, task_ids))
        click.echo(f"{revived} tasks will run again." if revived != 1 else "1 task will run again.")


async def _revive(ledger: Ledger, task_ids: Sequence[str]) -> int:
    """Those named, or all; how many.

    Raises:
        StartupError: one of them has not failed; nothing is run again then.
    """
    dead = {task.id: task for task in await ledger.failed(_EVERYTHING) if _can_run(task)}
    for task_id in task_ids:
        if task_id not in dead:
            raise StartupError(
                f"No task {task_id} was given up that could run again;"
                " `python -m app tasks dead list` prints those that were."
            )
    now = datetime.now(UTC)
    chosen = task_ids or tuple(dead)
    return sum([await ledger.revive(task_id, now) for task_id in chosen])


def _can_run(task: Task) -> bool:
    return task.attempt > 0


def _print_backlog(backlog: Sequence[Backlog]) -> None:
    now = datetime.now(UTC)
    for job in backlog:
        line = f"{job.name}: {job.queued} waiting, {job.running} running"
        if job.oldest_due_at is not None:
            age_seconds = max(0.0, (now - job.oldest_due_at).total_seconds())
            line += f"; the oldest has waited {age_seconds:.0f} s"
        click.echo(line)
    if not backlog:
        click.echo("Nothing waits, and nothing runs.")


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
