"""Revisions, slice by slice."""

import asyncio
import io
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, inspect

from app import bootstrap
from app.errors import StartupError
from app.infra.database import Base, Database
from app.infra.database.migrations import Migrations
from app.settings import Settings
from tests.databases import opened, with_database
from tests.recorded import recorded


@pytest.fixture
async def database(new_database: str) -> AsyncIterator[Database]:
    async with opened(with_database(Settings(), url=new_database)) as database:
        yield database


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

        def differences(connection: Connection) -> object:
            return compare_metadata(MigrationContext.configure(connection), Base.metadata)

        async with opened(settings) as database, database.engine.connect() as connection:
            assert await connection.run_sync(differences) == []

    async def test_start_in_production_needs_them(
        self, settings: Settings, new_database: str
    ) -> None:
        """A pending revision stops the start with the remedy; in development it is applied."""
        settings = with_database(settings, url=new_database)
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

        await both.undo(second.stem.split("_")[0])
        assert await both.pending() != []
        assert await tables(database) == {"alembic_version", "mark", "note"}
        alone = Migrations(database, metadata, {"notes": folders["notes"]})
        assert await alone.pending() == await both.pending()
        await both.upgrade()

        assert await alone.pending() == []
        with pytest.raises(StartupError, match="--undo"):
            await alone.upgrade()
        await both.undo("marks")
        await alone.upgrade()
        assert await tables(database) == {"alembic_version", "note"}

    async def test_a_later_release_has_migrated(
        self, database: Database, metadata: MetaData, tmp_path: Path
    ) -> None:
        """The one before it starts again all the same, and says what it does not know."""
        now = Migrations(database, metadata, {"notes": tmp_path / "now"})
        await now.revise("notes", "first")
        await now.upgrade()
        shutil.copytree(tmp_path / "now", tmp_path / "before")
        metadata.tables["note"].append_column(Column("colour", String(20)))
        later = await now.revise("notes", "second")
        before = Migrations(database, metadata, {"notes": tmp_path / "before"})
        assert await before.pending() == []
        await now.upgrade()
        with recorded() as log:
            assert await before.pending() == []
        [line] = log.of("database has revisions of another release")
        assert line["ids"] == [later.stem.split("_")[0]]

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
        if database.dialect.transactional_ddl:
            assert "note" not in await tables(database)
        assert len(await migrations.pending()) == 1


class TestTogether:
    async def test_two_instances_at_once(
        self, database: Database, new_database: str, metadata: MetaData, tmp_path: Path
    ) -> None:
        """One waits for the other, and each revision is applied once."""
        folders = {"notes": tmp_path / "notes"}
        await Migrations(database, metadata, folders).revise("notes", "first")
        settings = with_database(Settings(), url=new_database)
        async with opened(settings) as one, opened(settings) as other:
            both = (Migrations(each, metadata, folders) for each in (one, other))
            with recorded() as log:
                await asyncio.gather(*(each.upgrade() for each in both))
        assert len(log.of("migration applied")) == 1
        assert await Migrations(database, metadata, folders).pending() == []


class TestOffline:
    async def test_sql(self, database: Database, metadata: MetaData, tmp_path: Path) -> None:
        """What is printed makes the same tables, by hand, and connects to nothing."""
        migrations = Migrations(database, metadata, {"notes": tmp_path / "notes"})
        await migrations.revise("notes", "first")
        output = io.StringIO()
        migrations.write_sql(output)
        assert await tables(database) == {"alembic_version"}
        statements = [part.strip() for part in output.getvalue().split(";")]
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql("DROP TABLE alembic_version")
            for statement in statements:
                if statement not in {"", "BEGIN", "COMMIT"}:
                    await connection.exec_driver_sql(statement)
        assert await tables(database) == {"alembic_version", "note"}
        assert await migrations.pending() == []
