"""Revisions, slice by slice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, inspect

from app import bootstrap
from app.errors import StartupError
from app.infra.database import Base, Database, DatabaseSettings
from app.infra.database.migrations import Migrations
from app.settings import Settings


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(database_settings(tmp_path))
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def metadata() -> MetaData:
    """One table, as a slice of its own would declare it."""
    metadata = MetaData()
    Table("note", metadata, Column("id", Integer, primary_key=True), Column("word", String(20)))
    return metadata


async def tables(database: Database) -> set[str]:
    async with database.engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


class TestOurs:
    async def test_revisions_and_models_agree(self, settings: Settings) -> None:
        """A model that changed without a revision is found here."""
        async with bootstrap.open_migrations(settings) as revisions:
            assert await revisions.pending() == []
        database = Database(settings.database)

        def differences(connection: Connection) -> object:
            return compare_metadata(MigrationContext.configure(connection), Base.metadata)

        async with database.engine.connect() as connection:
            assert await connection.run_sync(differences) == []
        await database.close()

    async def test_start_in_production_needs_them(self, tmp_path: Path) -> None:
        """A pending revision stops the start with the remedy; in development it is applied."""
        settings = Settings(database=database_settings(tmp_path))
        production = settings.model_copy(update={"environment": "production"})
        if bootstrap.migrations():
            with pytest.raises(StartupError, match="is behind"):
                await bootstrap.prepare(production)
        await bootstrap.prepare(settings)
        await bootstrap.prepare(production)


class TestSlices:
    async def test_no_revision_is_legal(self, database: Database, tmp_path: Path) -> None:
        """With no slice, or a slice without a folder, there is nothing to do."""
        for folders in ({}, {"notes": tmp_path / "notes"}):
            migrations = Migrations(database, MetaData(), folders)
            assert await migrations.pending() == []
            await migrations.upgrade()

    async def test_each_has_a_branch_of_its_own(
        self, database: Database, metadata: MetaData, tmp_path: Path
    ) -> None:
        """Revisions are written, applied together, and outlive the slice beside them."""
        folders = {"notes": tmp_path / "notes", "marks": tmp_path / "marks"}
        both = Migrations(database, metadata, folders)
        first = await both.revise("notes", "words to keep")
        assert first.parent == folders["notes"]
        assert await both.pending() != []
        await both.upgrade()
        assert "note" in await tables(database)

        Table("mark", metadata, Column("id", Integer, primary_key=True))
        await both.revise("marks", "marks")
        await both.upgrade()
        assert await both.pending() == []

        metadata.tables["note"].append_column(Column("colour", String(20)))
        second = await both.revise("notes", "colours")
        assert first.stem.split("_")[0] in second.read_text()
        await both.upgrade()

        alone = Migrations(database, metadata, {"notes": folders["notes"]})
        with pytest.raises(StartupError, match="--undo"):
            await alone.upgrade()
        await both.undo("marks")
        await alone.upgrade()
        assert await tables(database) == {"alembic_version", "note"}

    async def test_nothing_to_write(
        self, database: Database, metadata: MetaData, tmp_path: Path
    ) -> None:
        """No empty revision is left behind."""
        migrations = Migrations(database, metadata, {"notes": tmp_path / "notes"})
        path = await migrations.revise("notes", "first")
        await migrations.upgrade()
        with pytest.raises(StartupError, match="nothing to write"):
            await migrations.revise("notes", "second")
        assert list(path.parent.glob("*.py")) == [path]

    async def test_unknown_slice(self, database: Database) -> None:
        """The sentence says where slices are named."""
        with pytest.raises(StartupError, match=r"app/bootstrap\.py"):
            await Migrations(database, MetaData(), {}).revise("ghosts", "boo")

    async def test_a_revision_on_an_old_schema(
        self, database: Database, metadata: MetaData, tmp_path: Path
    ) -> None:
        """It would repeat what is pending, so that comes first."""
        migrations = Migrations(database, metadata, {"notes": tmp_path / "notes"})
        await migrations.revise("notes", "first")
        with pytest.raises(StartupError, match="is behind"):
            await migrations.revise("notes", "second")

    async def test_a_failing_revision_changes_nothing(
        self, database: Database, metadata: MetaData, tmp_path: Path
    ) -> None:
        """All pending revisions are one transaction."""
        migrations = Migrations(database, metadata, {"notes": tmp_path / "notes"})
        path = await migrations.revise("notes", "first")
        text = path.read_text()
        before, marker, after = text.partition("def downgrade")
        path.write_text(f"{before.rstrip()}\n    raise ValueError('half-way')\n\n\n{marker}{after}")
        with pytest.raises(ValueError, match="half-way"):
            await migrations.upgrade()
        assert "note" not in await tables(database)


class TestTogether:
    async def test_two_instances_at_once(
        self, database: Database, metadata: MetaData, tmp_path: Path
    ) -> None:
        """Both succeed, and each revision is applied once."""
        folders = {"notes": tmp_path / "notes"}
        await Migrations(database, metadata, folders).revise("notes", "first")
        instances = [Database(database_settings(tmp_path)) for _ in range(2)]
        await asyncio.gather(*(Migrations(each, metadata, folders).upgrade() for each in instances))
        assert await Migrations(database, metadata, folders).pending() == []
        for each in instances:
            await each.close()


def database_settings(folder: Path) -> DatabaseSettings:
    return DatabaseSettings(url=f"sqlite+aiosqlite:///{folder}/test.db")
