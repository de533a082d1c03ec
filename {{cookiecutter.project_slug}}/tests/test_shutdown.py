"""A real server process, told to stop while clients are busy with it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event
from typing import TypeVar

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no SIGTERM", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("startable")]

T = TypeVar("T")

PATIENCE_SECONDS = 300
# Longer than anyone waits: whoever stops in time was not waiting for it.
FOREVER_SECONDS = 3600.0


def eventually(probe: Callable[[], T]) -> T:
    """The first truthy answer of `probe`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := probe()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answer


class Service:
    """A server process, whose workers are in a process group of their own."""

    def __init__(self, log: Path, *, workers: int, drain_seconds: float, failure: str) -> None:
        self.log = log
        self.workers = workers
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.shutdown_app"],
                cwd=log.parent,
                env={
                    **os.environ,
                    "PYTHONPATH": str(Path(__file__).parents[1]),
                    "APP_HTTP__PORT": "0",
                    "APP_HTTP__WORKERS": str(workers),
                    "APP_HTTP__DRAIN_SECONDS": str(drain_seconds),
                    "APP_HTTP__HEALTH_TIMEOUT_SECONDS": str(PATIENCE_SECONDS),
                    "APP_HTTP__WORKER_TIMEOUT_SECONDS": str(PATIENCE_SECONDS),
                    "FAILURE": failure,
                },
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def logged(self, pattern: str) -> list[str]:
        return re.findall(pattern, self.log.read_text())

    def wait_for_workers(self, count: int) -> None:
        """Wait until `count` workers have started, counted from the beginning."""
        eventually(lambda: len(self.logged("Application startup complete")) >= count)
        eventually(lambda: self.logged(r"http://127\.0\.0\.1:\d+"))

    @property
    def port(self) -> int:
        return int(self.logged(r"http://127\.0\.0\.1:(\d+)")[0])

    @property
    def worker_pids(self) -> list[int]:
        return [int(pid) for pid in self.logged(r"Started server process \[(\d+)\]")]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_status(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def get(self, path: str) -> tuple[int, str | None]:
        """The status and the Connection header of a response, over a connection of its own."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)) as client:
            client.request("GET", path)
            with client.getresponse() as response:
                response.read()
                return response.status, response.getheader("connection")

    def refuses(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return True
        return False


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Service] = []

    def start(workers: int, *, drain_seconds: float, failure: str = "") -> Service:
        log = tmp_path / f"{len(started)}.log"
        service = Service(log, workers=workers, drain_seconds=drain_seconds, failure=failure)
        started.append(service)
        if not failure:
            service.wait_for_workers(workers)
        return service

    yield start
    for service in started:
        service.kill()
        print(service.log.read_text())  # noqa: T201  # shown when a test failed


class Client:
    """Sends one request after the other on a connection that it keeps.

    When the server closes it the client connects again, until it is refused or told to leave.
    """

    def __init__(self, port: int, leave: Event, pause_seconds: float) -> None:
        self.port = port
        self.leave = leave
        self.pause_seconds = pause_seconds
        self.answers = 0
        self.closes = 0
        self.lost: list[Exception] = []

    def run(self) -> None:
        while not self.leave.is_set():
            connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
            try:
                connection.connect()
            except ConnectionRefusedError:
                return
            with closing(connection):
                try:
                    while connection.sock and not self.leave.is_set():
                        self.ask(connection)
                        time.sleep(self.pause_seconds)
                except (OSError, HTTPException) as error:
                    self.lost.append(error)

    def ask(self, connection: HTTPConnection) -> None:
        connection.request("GET", "/health/live")
        with connection.getresponse() as response:
            response.read()
            assert response.status == 200
            self.answers += 1
            self.closes += response.getheader("connection") == "close"


class Load:
    """Clients that know nothing of load balancing, some that do, and their load balancer."""

    def __init__(self, service: Service, *, naive: int = 8, pause_seconds: float = 0) -> None:
        self.service = service
        self.out_of_rotation = Event()
        self.balanced = [
            Client(service.port, self.out_of_rotation, pause_seconds) for _ in range(2)
        ]
        self.naive = [Client(service.port, Event(), pause_seconds) for _ in range(naive)]
        self.clients = [*self.balanced, *self.naive]
        self.executor = ThreadPoolExecutor(len(self.clients) + 1)
        self.runs = [self.executor.submit(client.run) for client in self.clients]
        self.runs.append(self.executor.submit(self.balance))
        self.wait_for_answers()

    def balance(self) -> None:
        while self.service.get("/health/ready")[0] == 200:
            time.sleep(0.05)
        self.out_of_rotation.set()

    def wait_for_answers(self) -> None:
        """Wait until every client is busy."""
        before = [client.answers for client in self.clients]
        eventually(
            lambda: all(
                client.answers > answers + 20
                for client, answers in zip(self.clients, before, strict=True)
            )
        )

    def finish(self) -> None:
        self.executor.shutdown()
        for run in self.runs:
            run.result()

    @property
    def lost(self) -> list[Exception]:
        return [error for client in self.clients for error in client.lost]


@pytest.mark.parametrize("workers", [1, 2])
def test_stop_under_load_loses_no_request(start: Start, workers: int) -> None:
    service = start(workers, drain_seconds=0.5)
    load = Load(service)

    service.signal(signal.SIGTERM)
    load.finish()

    assert load.lost == []
    assert load.out_of_rotation.is_set()
    assert all(client.closes for client in load.naive)
    assert service.exit_status() == 0


def test_replaced_worker_drains_too(start: Start) -> None:
    service = start(2, drain_seconds=0.5)
    os.kill(service.worker_pids[0], signal.SIGKILL)
    service.wait_for_workers(3)
    load = Load(service)

    service.signal(signal.SIGTERM)
    load.finish()

    assert load.lost == []
    assert service.exit_status() == 0


def test_rolling_restart_loses_no_request(start: Start) -> None:
    service = start(2, drain_seconds=0.1)
    # With pauses, so that the new workers get to start while the old ones are asked.
    load = Load(service, naive=2, pause_seconds=0.005)

    service.signal(signal.SIGHUP)
    eventually(lambda: len(service.logged("Finished server process")) == 2)
    service.wait_for_workers(4)
    service.signal(signal.SIGTERM)
    load.finish()

    assert load.lost == []
    assert service.exit_status() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_draining_service_says_so_until_told_again(start: Start, workers: int) -> None:
    service = start(workers, drain_seconds=FOREVER_SECONDS)
    assert service.get("/health/ready") == (200, None)

    service.signal(signal.SIGTERM)
    eventually(lambda: len(service.logged("Draining")) == workers)

    assert service.get("/health/ready") == (503, "close")
    assert service.get("/health/live") == (200, "close")
    service.signal(signal.SIGTERM)
    assert service.exit_status() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_request_in_flight_finishes_after_the_listener_closed(start: Start, workers: int) -> None:
    service = start(workers, drain_seconds=0.1)
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_SECONDS) as client:
        client.sendall(
            b"POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        # Sent when the application asks for the body: by then the request is in flight.
        assert client.recv(1024).startswith(b"HTTP/1.1 100")

        service.signal(signal.SIGTERM)
        eventually(service.refuses)
        client.sendall(b"!")

        with client.makefile("rb") as response:
            assert response.readline() == b"HTTP/1.1 200 OK\r\n"
            assert b"connection: close\r\n" in response.read()
    assert service.exit_status() == 0


def test_workers_do_not_outlive_their_supervisor(start: Start) -> None:
    service = start(2, drain_seconds=0.1)

    service.signal(signal.SIGKILL)

    eventually(service.refuses)


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupt_stops_at_once(start: Start, workers: int) -> None:
    service = start(workers, drain_seconds=FOREVER_SECONDS)

    # As a terminal does on Ctrl-C, to parent and workers alike.
    os.killpg(service.process.pid, signal.SIGINT)

    assert service.exit_status() == 0


def test_signal_to_the_whole_group_does_not_cut_the_drain_short(start: Start) -> None:
    service = start(2, drain_seconds=FOREVER_SECONDS)

    os.killpg(service.process.pid, signal.SIGTERM)  # as systemd does
    eventually(lambda: len(service.logged("Terminated child process")) == 2)
    eventually(lambda: len(service.logged("Draining")) == 2)

    assert service.get("/health/ready") == (503, "close")
    service.signal(signal.SIGTERM)
    assert service.exit_status() == 0


@pytest.mark.parametrize("failure", ["create", "open"])
@pytest.mark.parametrize("workers", [1, 2])
def test_failure_to_start_exits_with_1(start: Start, workers: int, failure: str) -> None:
    assert start(workers, drain_seconds=FOREVER_SECONDS, failure=failure).exit_status() == 1
