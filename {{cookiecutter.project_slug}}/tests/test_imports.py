"""Imports are budgeted: each costs every worker time at its start, and memory for ever."""

from pathlib import Path

import pytest

from tests.processes import SERVING, imported_by

TOOLS = {"blockbuster", "coverage", "httpx2", "hypothesis", "mypy", "pytest", "ruff", "xdist"}
OTHERS_AFFAIR = {"uvicorn", "watchfiles"}


@pytest.mark.usefixtures("startable")
class TestServing:
    def test_imports_neither_tools_nor_the_server(self, tmp_path: Path) -> None:
        """The application is started by a server, and knows none."""
        imported = imported_by(SERVING, tmp_path)
        assert {"app", "fastapi"} <= imported
        assert not imported & (TOOLS | OTHERS_AFFAIR)
