"""Every process writes lines of one format, whoever in it has something to say."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError

import pytest

from app import bootstrap
from tests.processes import environment
from tests.recorded import lines_of

if sys.platform == "win32":
    pytest.skip("Windows has no SIGTERM", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("startable")]

PATIENCE_SECONDS = 60
# More of them where there may be more.
WORKERS = [1] if bootstrap.single_process_room() else [1, 2]


class Process:
    """A service, and what it has written."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "app", "serve", "--no-reload", "--port=0"],
                cwd=folder,
                env=environment(APP_HTTP__WORKERS=str(workers)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def found(self, pattern: str, count: int = 1) -> list[str]:
        """What `pattern` finds in the log, once it has found it `count` times."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(found := re.findall(pattern, self.log)) < count:
            assert self.popen.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return found


@contextmanager
def serving(folder: Path, workers: int) -> Iterator[Process]:
    process = Process(folder, workers)
    try:
        yield process
    finally:
        process.popen.terminate()
        process.popen.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("workers", WORKERS)
def test_serve(tmp_path: Path, workers: int) -> None:
    """From the first line to the last, those of a supervisor whose worker dies included."""
    with serving(tmp_path, workers) as process:
        [url] = process.found(r"running on (http://127\.0\.0\.1:\d+)")
        pids = process.found(r"Started server process \[(\d+)\]", workers)
        process.found("Application startup complete", workers)
        if workers > 1:
            os.kill(int(pids[0]), signal.SIGKILL)
            process.found("Application startup complete", workers + 1)
        with suppress(HTTPError):
            urllib.request.urlopen(f"{url}/nowhere").close()  # noqa: S310  # our own
        process.found('"request"')
    lines = lines_of(process.log)
    assert {"uvicorn"} <= {line.get("logger") for line in lines}
    died = [line for line in lines if "died" in line["event"]]
    assert bool(died) == (workers > 1)
