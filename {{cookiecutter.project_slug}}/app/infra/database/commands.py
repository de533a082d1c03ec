"""`python -m app migrate` and `python -m app revision`."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from app.infra.database.migrations import Migrations

OpenMigrations = Callable[[], AbstractAsyncContextManager["Migrations"]]
DescribeMigrations = Callable[[], "Migrations"]


def add_to(
    group: click.Group, open_migrations: OpenMigrations, describe_migrations: DescribeMigrations
) -> None:
    """Add the commands of this room; both functions read the settings when one is run.

    `describe_migrations` connects to nothing.
    """

    @group.command()
    @click.option(
        "--undo",
        metavar="NAME",
        help="Instead, drop the tables of a slice, or undo a revision and those that follow it.",
    )
    @click.option("--sql", is_flag=True, help="Instead, print the SQL for an empty database.")
    def migrate(undo: str | None, sql: bool) -> None:
        """Bring the database to the newest revision of every slice.

        Several processes may do so at once: one waits for the other.
        """
        if sql:
            if undo is not None:
                raise click.UsageError("--sql prints the way up only; leave --undo out.")
            describe_migrations().write_sql(sys.stdout)
            return

        async def run() -> None:
            async with open_migrations() as migrations:
                await (migrations.upgrade() if undo is None else migrations.undo(undo))

        asyncio.run(run())
        click.echo("The database is up to date." if undo is None else f"{undo} is undone.")

    @group.command()
    @click.argument("slice_name", metavar="SLICE")
    @click.argument("message")
    def revision(slice_name: str, message: str) -> None:
        """Write a revision for SLICE from the difference between its models and the database.

        Read it before you commit it: a rename looks like a drop and an add.
        """

        async def run() -> str:
            async with open_migrations() as migrations:
                return str(await migrations.revise(slice_name, message))

        click.echo(asyncio.run(run()))
