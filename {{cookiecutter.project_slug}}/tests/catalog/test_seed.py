"""`python -m app seed`, as its user runs it."""

from pathlib import Path

import pytest
from sqlalchemy import distinct, func, select

from app.catalog.models import ProductRow
from app.settings import Settings
from tests.databases import opened, with_database
from tests.processes import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("startable")]


class TestSeed:
    async def test_adds_products_each_time(self, tmp_path: Path, new_database: str) -> None:
        """As many as were asked for, in batches, with skus that never meet."""
        for _ in range(2):
            ended = run(tmp_path, "seed", "--products", "1100")
            assert ended.returncode == 0, ended.stderr
        async with (
            opened(with_database(Settings(), url=new_database)) as database,
            database.reading() as connection,
        ):
            skus = select(func.count(distinct(ProductRow.sku)))
            assert await connection.scalar(skus) == 2200

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
