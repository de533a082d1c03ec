"""Whether a database has every revision, found out without Alembic."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from app.infra.database import Database
from app.infra.database.migrations import Migrations
from app.infra.database.revisions import is_current
from app.settings import Settings
from tests.databases import opened, with_database


@pytest.fixture
async def database(new_database: str) -> AsyncIterator[Database]:
    async with opened(with_database(Settings(), url=new_database)) as database:
        yield database


class TestCurrent:
    async def test_with_the_newest_revision_of_every_slice(
        self, database: Database, tmp_path: Path
    ) -> None:
        """What Alembic has applied, and nothing else."""
        metadata = MetaData()
        folders = {"notes": tmp_path / "notes", "marks": tmp_path / "marks"}
        migrations = Migrations(database, metadata, folders)
        assert await is_current(database, folders.values())
        for slice_name, table in (("notes", "note"), ("marks", "mark"), ("notes", "word")):
            Table(table, metadata, Column("id", Integer, primary_key=True))
            await migrations.revise(slice_name, table)
            assert not await is_current(database, folders.values())
            await migrations.upgrade()
            assert await is_current(database, folders.values())
        assert not await is_current(database, [folders["notes"]])
        await migrations.undo("notes")
        assert not await is_current(database, folders.values())

    async def test_in_doubt_alembic_is_asked(self, database: Database, tmp_path: Path) -> None:
        """Of a file that is no revision, and of one that says more than Alembic writes."""
        folders = {"notes": tmp_path}
        metadata = MetaData()
        Table("note", metadata, Column("id", Integer, primary_key=True))
        path = await Migrations(database, metadata, folders).revise("notes", "first")
        await Migrations(database, metadata, folders).upgrade()
        path.write_text(f"{path.read_text()}\nLATER: Sequence[int] = list(range(3))\n")
        assert await is_current(database, [tmp_path])
        (tmp_path / "other.py").write_text('"""Nothing."""\n')
        assert not await is_current(database, [tmp_path])
