"""The load that `uv run --group load locust` puts on the service, for some seconds."""

import csv
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.processes import ROOT, environment

PATIENCE_SECONDS = 60
SERVING = re.compile(r"http://127\.0\.0\.1:(\d+)")

ASKED = {
    ("GET", "/v1/products"),
    ("GET", "/v1/products next"),
    ("GET", "/v1/products/[id]"),
    ("GET", "/v1/products/[id] again"),
    ("GET", "/v1/products/statistics"),
    ("PATCH", "/v1/products/[id]"),
    ("POST", "/v1/products"),
    ("POST", "/v1/products/[id]/reviews"),
}


@pytest.fixture
def host(tmp_path: Path, startable: None) -> Iterator[str]:  # noqa: ARG001
    """Where a service answers."""
    log = tmp_path / "service.log"
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", "0"],
            cwd=tmp_path,
            env=environment(APP_LOGS__FORMAT="json"),
            stdout=file,
            stderr=file,
        ) as service,
    ):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "startup complete" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        found = SERVING.search(log.read_text())
        assert found is not None
        yield found[0]
        service.terminate()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("locust") is None, reason="uv sync --group load installs Locust")
def test_every_request_is_answered(host: str, tmp_path: Path) -> None:
    """Each kind of them was made, and none has failed."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "--locustfile", str(ROOT / "tests/catalog/load.py")),
            *("--headless", "--only-summary", "--host", host, "--csv", "load"),
            *("--users", "40", "--spawn-rate", "40", "--run-time", "5s"),
        ],
        check=False,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with (tmp_path / "load_stats.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["Name"] != "Aggregated"]
    assert {(row["Type"], row["Name"]) for row in rows} == ASKED
    assert all(row["Failure Count"] == "0" for row in rows)
