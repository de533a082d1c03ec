"""Migrations are looked at before the service starts, not in each of its workers."""

from pathlib import Path

import pytest

from tests.processes import SERVING, imported_by


@pytest.mark.usefixtures("startable")
class TestServing:
    def test_imports_no_alembic(self, tmp_path: Path) -> None:
        """It would cost each worker a third of its time to start."""
        imported = imported_by(SERVING, tmp_path)
        assert "sqlalchemy" in imported
        assert not imported & {"alembic", "mako"}
