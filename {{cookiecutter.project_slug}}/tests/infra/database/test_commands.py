"""`python -m app migrate` and `revision`, as their user runs them."""

import json
import re
from pathlib import Path

import pytest

from app import bootstrap
from tests.processes import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("startable")]


class TestMigrate:
    def test_brings_a_new_database_up_to_date(self, tmp_path: Path) -> None:
        """As often as it is run."""
        for _ in range(2):
            ended = run(tmp_path, "migrate")
            assert ended.returncode == 0, ended.stderr
            assert ended.stdout == "The database is up to date.\n"

    def test_logs_what_matters(self, tmp_path: Path) -> None:
        """The revisions that were applied, and nothing of how that is done."""
        ended = run(tmp_path, "migrate")
        lines = [json.loads(line) for line in ended.stderr.splitlines()]
        assert {line["event"] for line in lines} <= {"room opened", "migration applied"}

    def test_undoes_one_slice(self, tmp_path: Path) -> None:
        """Of one that there is not, the sentence says where slices are named."""
        run(tmp_path, "migrate")
        for name in bootstrap.migrations():
            ended = run(tmp_path, "migrate", "--undo", name)
            assert ended.stdout == f"{name} is undone.\n"
        ended = run(tmp_path, "migrate", "--undo", "ghosts")
        assert ended.returncode == 1
        assert "bootstrap.py" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr

    def test_prints_sql(self, tmp_path: Path) -> None:
        """Of every revision, without a database."""
        ended = run(tmp_path, "migrate", "--sql")
        assert ended.returncode == 0, ended.stderr
        assert list(tmp_path.iterdir()) == []
        for folder in bootstrap.migrations().values():
            for path in folder.glob("*.py"):
                [revision] = re.findall(r'\nrevision: str = "(.+)"\n', path.read_text())
                assert f"'{revision}'" in ended.stdout

    def test_says_what_is_wrong_with_the_place(self, tmp_path: Path, new_database: str) -> None:
        """One sentence, exit status 1, no traceback."""
        url = new_database + "/missing/data"
        ended = run(tmp_path, "migrate", APP_DATABASE__URL=url)
        assert ended.returncode == 1
        assert "cannot be opened" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr


class TestRevision:
    def test_needs_a_slice_that_is_named(self, tmp_path: Path) -> None:
        """One sentence, exit status 1, no traceback."""
        ended = run(tmp_path, "revision", "ghosts", "boo")
        assert ended.returncode == 1
        assert "ghosts" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
