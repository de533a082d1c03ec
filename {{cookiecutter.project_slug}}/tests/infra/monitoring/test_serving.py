"""A service of real processes, and its figures as they are seen from outside."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event

import psutil
import pytest

from tests.infra.monitoring.prometheus_backend import Scrape
from tests.infra.monitoring.scraping import OFTEN, PATIENCE_SECONDS, eventually, scrape, told_at
from tests.processes import environment, run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("startable")]

WORKERS = 4
CLIENTS = 6
ROUND = 200
"""Requests that are answered before a worker is killed, and again after it was replaced."""
_PACE_SECONDS = 0.01  # so that a new worker has some of the machine to start in


class Service:
    """A service, and its log."""

    def __init__(self, folder: Path, *command: str, **settings: str) -> None:
        self._log = folder / "service.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env=environment(**{"APP_LOGS__FORMAT": "json", **OFTEN, **settings}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def found(self, pattern: str) -> list[int]:
        """The numbers in the log that `pattern` has a group for."""
        return [int(number) for number in re.findall(pattern, self.log)]

    @property
    def port(self) -> int:
        return eventually(lambda: self.found(r"http://127\.0\.0\.1:(\d+)"))[0]

    @property
    def workers(self) -> list[int]:
        """The living among the processes that serve."""
        return [pid for pid in self.found(r"Started server process \[(\d+)\]") if _lives(pid)]

    def scrape(self) -> Scrape:
        return scrape(told_at(lambda: self.log))


def _lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@contextmanager
def service(folder: Path, *command: str, **settings: str) -> Iterator[Service]:
    """A service until the block ends; then it and its workers are killed."""
    started = Service(folder, *command, **settings)
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.process.pid, signal.SIGKILL)
        started.process.wait()
        print(started.log)  # noqa: T201  # shown when a test failed


class Load:
    """Clients that ask again and again, and count their requests and the answers to them."""

    def __init__(self, port: int) -> None:
        self.sent = [0] * CLIENTS
        self.received = [0] * CLIENTS
        self._port = port
        self._over = Event()
        self._pool = ThreadPoolExecutor(CLIENTS)

    def __enter__(self) -> "Load":
        self._clients = [self._pool.submit(self._ask, client) for client in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for client in self._clients:
            client.result()

    def wait_for(self, answers: int) -> None:
        """Wait until so many more requests were answered."""
        before = sum(self.received)
        eventually(lambda: sum(self.received) >= before + answers)

    def _ask(self, client: int) -> None:
        while not self._over.is_set():
            with (
                closing(HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection,
                suppress(HTTPException, OSError),  # its worker was killed
            ):
                while not self._over.is_set():
                    self.sent[client] += 1
                    connection.request("GET", "/")
                    connection.getresponse().read()
                    self.received[client] += 1
                    self._over.wait(_PACE_SECONDS)


def hold(port: int) -> socket.socket:
    """A request that is in flight until its connection is closed."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    return connection


class TestWorkers:
    def test_one_is_killed_and_replaced(self, tmp_path: Path) -> None:
        """Answers received ≤ counter ≤ requests sent; gauges are those of who lives."""
        workers = {"APP_HTTP__WORKERS": str(WORKERS), "APP_HTTP__PORT": "0"}
        with service(tmp_path, "tests.shutdown_app", **workers) as serving, ExitStack() as stack:
            eventually(lambda: serving.log.count("service started") >= WORKERS)
            limits = limits_of(serving.scrape())
            with Load(serving.port) as load:
                load.wait_for(ROUND)
                held = [stack.enter_context(hold(serving.port)) for _ in range(3 * WORKERS)]
                eventually(lambda: in_flight(serving) >= len(held))
                killed = serving.workers[0]
                os.kill(killed, signal.SIGKILL)
                eventually(lambda: serving.log.count("service started") > WORKERS)
                load.wait_for(ROUND)
            assert len(serving.workers) == WORKERS
            assert killed not in serving.workers
            left = sum(map(is_open, held))
            eventually(lambda: in_flight(serving) == left)
            told = serving.scrape()
            counted = told.total("http_requests_total", route="/", method="GET")
            assert sum(load.received) <= counted <= sum(load.sent)
            measured = told.get("http_request_duration_seconds_count", route="/", method="GET")
            assert measured is not None
            # The one that was killed had a tenth of a second not written.
            unwritten = CLIENTS * round(0.1 / _PACE_SECONDS)
            assert counted - WORKERS * CLIENTS - unwritten <= measured <= counted
            assert limits_of(told) == limits
            eventually(partial(memory_is_true, serving))
            stack.close()
            eventually(lambda: in_flight(serving) == 0)
            assert counted == serving.scrape().total("http_requests_total", route="/", method="GET")


def in_flight(serving: Service) -> float:
    return serving.scrape().get("http_requests_in_flight") or 0


def limits_of(told: Scrape) -> dict[str, float]:
    """How much of something all living processes may use together, where there is a limit."""
    return {name: value for (name, _), value in told.samples.items() if name.endswith("_limit")}


def is_open(connection: socket.socket) -> bool:
    """Whether the worker at the other end lives, which has not answered yet."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def memory_is_true(serving: Service) -> bool:
    """Whether the sum is that of the processes that live, far from what one more would have."""
    truth = sum(psutil.Process(pid).memory_info().rss for pid in serving.workers)
    told = serving.scrape().get("process_resident_memory_bytes") or 0
    return abs(told - truth) < truth / WORKERS / 3


class TestServe:
    @pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
    def test_tells_figures(self, tmp_path: Path, reload: str) -> None:
        """At a port of their own: also those of a process that is started anew for new code."""
        (tmp_path / "app").mkdir()  # which is what it watches
        with service(tmp_path, "app", "serve", reload, "--port", "0") as serving:
            with Load(serving.port) as load:
                load.wait_for(10)
            told = serving.scrape()
            assert told.total("http_requests_total", route="/") >= 10
            assert (told.total("process_cpu_seconds_total")) > 0
            assert told.total("service_info", version="0.1.0") == 1

    def test_ends_in_time(self, tmp_path: Path) -> None:
        """On SIGTERM, with status 0, and leaves no files."""
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        command = ("app", "serve", "--no-reload", "--port", "0")
        with service(tmp_path, *command, TMPDIR=str(temporary)) as serving:
            serving.scrape()
            eventually(lambda: "Application startup complete" in serving.log)
            assert list(temporary.glob("metrics-*"))
            serving.process.terminate()
            assert serving.process.wait(PATIENCE_SECONDS) == 0
        assert not list(temporary.iterdir())

    @pytest.mark.parametrize("host", [None, "localhost"])
    def test_host(self, tmp_path: Path, host: str | None) -> None:
        """This machine alone is told unless another is named, wherever the service is served."""
        command = ("app", "serve", "--no-reload", "--port", "0", "--host", "localhost")
        settings = {} if host is None else {"APP_MONITORING__HOST": host}
        with service(tmp_path, *command, **settings) as serving:
            serving.scrape()
            [line] = [line for line in serving.log.splitlines() if "metrics are told" in line]
            assert json.loads(line)["host"] == (host or "127.0.0.1")

    def test_token(self, tmp_path: Path) -> None:
        """With one there is no other port."""
        token = "a token of the test alone"
        command = ("app", "serve", "--no-reload", "--port", "0")
        with service(tmp_path, *command, APP_MONITORING__TOKEN=token) as serving:
            with closing(HTTPConnection("127.0.0.1", serving.port, timeout=60)) as client:
                client.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
                told = Scrape.of(client.getresponse().read().decode())
            assert told.total("service_info") == 1
            assert "metrics are told" not in serving.log

    def test_port_that_is_taken(self, tmp_path: Path) -> None:
        """One sentence that names the setting, and exit status 1."""
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = str(taken.getsockname()[1])
            ended = run(tmp_path, "serve", "--no-reload", "--port", "0", APP_MONITORING__PORT=port)
        assert ended.returncode == 1
        [line] = ended.stderr.splitlines()
        assert port in line
        assert line.endswith("choose another with APP_MONITORING__PORT.")
