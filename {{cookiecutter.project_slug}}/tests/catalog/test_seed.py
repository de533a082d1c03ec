"""`python -m app seed`, as its user runs it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import run

pytestmark = pytest.mark.slow


class TestSeed:
    def test_adds_products_each_time(self, tmp_path: Path) -> None:
        """As many as were asked for, in batches, with skus that never meet."""
        url = f"sqlite+aiosqlite:///{tmp_path}/data.db"
        for _ in range(2):
            ended = run(tmp_path, "seed", "--products", "1100", APP_DATABASE__URL=url)
            assert ended.returncode == 0, ended.stderr
        with closing(sqlite3.connect(tmp_path / "data.db")) as database:
            assert database.execute("SELECT count(DISTINCT sku) FROM product").fetchone() == (2200,)

    def test_needs_tables_in_production(self, tmp_path: Path) -> None:
        """One sentence that names the remedy, exit status 1, no traceback."""
        production = {
            "APP_ENVIRONMENT": "production",
            "APP_SECRET_KEY": "a secret of the test",
            "APP_HTTP__ALLOWED_HOSTS": '["service"]',
        }
        ended = run(tmp_path, "seed", "--products", "1", **production)
        assert ended.returncode == 1
        assert "python -m app migrate" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
