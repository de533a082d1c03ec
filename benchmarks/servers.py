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

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0] if len(CORES) > 1 else None
LOAD_CORE = CORES[1] if len(CORES) > 1 else None
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """A program that listens."""

    pid: int
    port: int
    first_answer_seconds: float
    """From its start to its first 200."""

    def cpu_seconds(self) -> float:
        """CPU time of the process and of those that it started and has not outlived."""
        spent = [process.cpu_times() for process in self._family()]
        return sum(times.user + times.system for times in spent)

    def memory_mib(self) -> float:
        """Memory that is its own: shared pages count in part (PSS)."""
        return float(sum(each.memory_full_info().pss for each in self._family())) / 2**20

    def _family(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]


@contextmanager
def serving(
    command: Sequence[str],
    *,
    folder: Path,
    port: int,
    path: str,
    settings: Mapping[str, str] | None = None,
    core: int | None = SERVER_CORE,
) -> Iterator[Server]:
    """Start `command` in `folder`, wait until `path` answers with 200, and stop it at the end.

    What it logs goes to a file, as in production.
    """
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    log = folder / f"log-{port}.txt"
    started = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*pinned, *command],
            cwd=folder,
            env={**os.environ, **(settings or {})},
            stdout=file,
            stderr=file,
        )
    try:
        while not _answers(port, path):
            seconds = time.perf_counter() - started
            if process.poll() is not None or seconds > _PATIENCE_SECONDS:
                raise SystemExit(f"{' '.join(command)} does not serve:\n{log.read_text()[-2_000:]}")
            time.sleep(0.002)
        yield Server(process.pid, port, time.perf_counter() - started)
    finally:
        process.terminate()
        process.wait()


def uvicorn(application: str, port: int) -> list[str]:
    """The command of a reference: the server and the options that the service has, one process."""
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port)]
    return [*command, *options, "--log-level", "warning"]


def free_port() -> int:
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
