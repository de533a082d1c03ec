"""Revisions of the schema.

Each slice keeps its revisions in a folder of its own, on a branch of its own whose label is the
slice's name, so that slices come and go without touching each other's history.
"""

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import structlog
from alembic import command
from alembic.config import Config
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import DBAPIError

from app.errors import StartupError
from app.infra.database.engine import Database

logger = structlog.get_logger()


class Migrations:
    """The revisions of all slices, applied to one database."""

    def __init__(self, database: Database, metadata: MetaData, folders: Mapping[str, Path]) -> None:
        """`folders` maps the name of each slice to the folder of its revisions."""
        self._database = database
        self._metadata = metadata
        self._folders = folders

    async def upgrade(self) -> None:
        """Bring the schema to the newest revision of every slice; with no revision, do nothing."""
        await self._run(lambda connection: command.upgrade(self._config(connection), "heads"))

    def write_sql(self, output: TextIO) -> None:
        """Write what `upgrade` would send to an empty database, without connecting to one."""
        config = self._config()
        config.output_buffer = output
        command.upgrade(config, "heads", sql=True)

    async def undo(self, name: str) -> None:
        """Take back every revision of a slice, or a revision and those that follow it.

        The tables that they made go, and what is in them.

        Raises:
            StartupError: there is neither a slice nor a revision of this name.
        """
        target = f"{name}@base" if name in self._folders else self._before(name)
        await self._run(lambda connection: command.downgrade(self._config(connection), target))

    def _before(self, revision: str) -> str:
        """What is left when a revision is undone."""
        script = ScriptDirectory.from_config(self._config())
        found = {each.revision: each for each in script.walk_revisions()}
        if revision not in found:
            self._folder(revision)
        first, *_ = found[revision].branch_labels
        return str(found[revision].down_revision or f"{first}@base")

    async def pending(self) -> list[str]:
        """The newest revisions that the database does not have yet, by id.

        A release that starts again after a later one has migrated misses none of its own. So where
        the database has revisions that this release does not know, a slice of which it has none
        that this one knows counts as ahead, and not as new.
        """

        def compare(connection: Connection) -> list[str]:
            script = ScriptDirectory.from_config(self._config(connection))
            current = set(MigrationContext.configure(connection).get_current_heads())
            missing = set(script.get_heads()) - current
            foreign = current - {each.revision for each in script.walk_revisions()}
            if foreign:
                logger.warning("database has revisions of another release", ids=sorted(foreign))
                # Of a slice that is behind, the database names an older revision; of one that is
                # ahead, only one that this release does not know.
                missing = {head for head in missing if current & _until(script, head)}
            return sorted(missing)

        result: list[str] = await self._run(compare)
        return result

    async def revise(self, slice_name: str, message: str) -> Path:
        """Write a new revision of `slice_name`: what its models have and the database has not.

        Raises:
            StartupError: the slice is unknown, the database is behind its revisions, or there is
                no difference.
        """
        folder = self._folder(slice_name)
        if not message.isprintable() or set(message) & set('"\\'):
            raise StartupError("Write the message without quotation marks and backslashes.")
        if await self.pending():
            raise StartupError("The database is behind; run `python -m app migrate` first.")
        first = not any(folder.glob("*.py"))
        folder.mkdir(parents=True, exist_ok=True)

        def write(connection: Connection) -> Path | None:
            revision = command.revision(
                self._config(connection),
                message,
                autogenerate=True,
                head="base" if first else f"{slice_name}@head",
                branch_label=slice_name if first else None,
                version_path=str(folder),
                process_revision_directives=_drop_what_changes_nothing,
            )
            return Path(revision.path) if isinstance(revision, Script) else None

        path: Path | None = await self._run(write)
        if path is None:
            raise StartupError(
                f"The models of {slice_name} and the database agree; there is nothing to write."
            )
        return path

    def _folder(self, slice_name: str) -> Path:
        if slice_name not in self._folders:
            known = ", ".join(self._folders) or "none yet"
            raise StartupError(
                f"There is no slice or revision {slice_name!r} (slices: {known}); correct the name,"
                " or add the slice's folder to migrations() in app/bootstrap.py."
            )
        return self._folders[slice_name]

    def _config(self, connection: Connection | None = None) -> Config:
        config = Config(
            cmd_opts=Namespace(quiet=True),
            attributes={
                "connection": connection,
                "dialect_name": self._database.dialect.ddl_dialect(self._database.engine),
                "metadata": self._metadata,
                "on_version_apply": [_log_step, *self._step_callbacks()],
                "render_as_batch": self._database.dialect.alters_by_copying,
            },
        )
        folders = [str(folder) for folder in self._folders.values()]
        options = {
            "script_location": str(Path(__file__).parent / "alembic"),
            "version_locations": os.pathsep.join(folders),
            "path_separator": "os",
        }
        for name, value in options.items():
            config.set_main_option(name, value.replace("%", "%%"))
        # New revisions arrive formatted.
        for name, value in {
            "hooks": "ruff",
            "ruff.type": "module",
            "ruff.module": "ruff",
            "ruff.options": "format --quiet REVISION_SCRIPT_FILENAME",
        }.items():
            config.set_section_option("post_write_hooks", name, value)
        return config

    def _step_callbacks(self) -> list[Callable[..., None]]:
        return [] if self._database.dialect.transactional_ddl else [_commit_step]

    async def _run(self, work: Callable[[Connection], Any]) -> Any:
        """Run `work` while no other process migrates; in one transaction, where tables know it.

        Raises:
            StartupError: the database has a revision that no slice has.
        """

        def locked(connection: Connection) -> Any:
            unlock = self._database.dialect.lock_migrations(connection)
            try:
                result = work(connection)
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            finally:
                unlock()
            return result

        try:
            async with self._database.engine.connect() as connection:
                return await connection.run_sync(locked)
        except DBAPIError as error:
            raise StartupError(
                f"The database cannot be changed ({error.orig}); see what else uses it, or what the"
                " revision asks of it."
            ) from error
        except CommandError as error:
            raise StartupError(
                f"The database does not fit the revisions ({error}); run `python -m app migrate"
                " --undo` and the name of the revision with the code that has it, or start from an"
                " empty database."
            ) from error


def _drop_what_changes_nothing(
    _context: object, _revision: object, directives: list[MigrationScript]
) -> None:
    directives[:] = [each for each in directives if not _is_empty(each)]


def _until(script: ScriptDirectory, head: str) -> set[str]:
    return {each.revision for each in script.iterate_revisions(head, "base")}


def _is_empty(script: MigrationScript) -> bool:
    return script.upgrade_ops is None or script.upgrade_ops.is_empty()


def _commit_step(*, ctx: MigrationContext, **_rest: object) -> None:
    """The tables of this step are there, whatever becomes of the next."""
    if ctx.connection is not None:
        ctx.connection.commit()


def _log_step(*, step: MigrationInfo, **_rest: object) -> None:
    done = "migration applied" if step.is_upgrade else "migration undone"
    logger.info(done, revision=step.up_revision_id)
