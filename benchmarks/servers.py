"""Servers that are measured: how they are started, and what they use up. Linux: it reads /proc."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_CORES = sorted(os.sched_getaffinity(0))
# With one core alone, they share it.
ON_SERVER_CORE = ["taskset", "-c", str(_CORES[0])] if len(_CORES) > 1 else []
ON_LOAD_CORE = ["taskset", "-c", str(_CORES[1])] if len(_CORES) > 1 else []
_PATIENCE_SECONDS = 60.0

LOOP = ["--loop", "uvloop", "--http", "httptools"]


@dataclass(frozen=True)
class Server:
    """A program that listens."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """CPU time of the process and of those that it started and has not outlived."""
        process = psutil.Process(self.pid)
        spent = [each.cpu_times() for each in [process, *process.children(recursive=True)]]
        return sum(times.user + times.system for times in spent)


@contextmanager
def serving(
    command: Sequence[str], *, folder: Path, path: str, settings: Mapping[str, str]
) -> Iterator[Server]:
    """Start `command` in `folder`, wait until `path` answers with 200, and stop it at the end.

    `{port}` stands for its port there. What it logs goes to a file, as in production.
    """
    port = _free_port()
    log = folder / f"log-{port}.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*ON_SERVER_CORE, *(part.format(port=port) for part in command)],
            cwd=folder,
            env={**os.environ, **settings},
            stdout=file,
            stderr=file,
        )
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _answers(port, path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(command)} does not serve:\n{log.read_text()[-2_000:]}")
            time.sleep(0.01)
        yield Server(process.pid, port)
    finally:
        process.terminate()
        process.wait()


def uvicorn(application: str, *options: str) -> list[str]:
    """The command of an application: the server and the options of the service, one process."""
    usual = [*LOOP, "--no-access-log", "--log-level", "warning"]
    return [sys.executable, "-m", "uvicorn", application, "--port", "{port}", *usual, *options]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _answers(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            asked = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            connection.sendall(asked.encode())
            return connection.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False
