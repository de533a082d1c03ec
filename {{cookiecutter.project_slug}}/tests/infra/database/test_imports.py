"""Migrations are looked at before the service starts, not in each of its workers."""

from pathlib import Path

import pytest

from tests.processes import SERVING, imported_by

PREPARING = """
import asyncio
from app import bootstrap
from app.settings import Settings

asyncio.run(bootstrap.prepare(Settings()))
"""


@pytest.mark.usefixtures("startable")
class TestServing:
    def test_imports_no_alembic(self, tmp_path: Path) -> None:
        """It would cost each worker a third of its time to start."""
        imported = imported_by(SERVING, tmp_path)
        assert "sqlalchemy" in imported
        assert not imported & {"alembic", "mako"}


@pytest.mark.usefixtures("startable")
class TestPreparing:
    def test_imports_no_alembic_where_nothing_is_pending(self, tmp_path: Path) -> None:
        """It would cost every start a sixth of its time, and a worker that is alone memory."""
        for _ in range(2):
            imported = imported_by(PREPARING, tmp_path)
        assert "sqlalchemy" in imported
        assert not imported & {"alembic", "mako"}
