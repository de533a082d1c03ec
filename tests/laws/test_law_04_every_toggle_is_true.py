"""Law 4: each value of each prompt shows in a running service, seen from outside its process.

`license` makes a file only; `tests/test_texts.py` reads it.
"""

import gzip
import json
import os
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from choices import CHOICES, ROOT, Answers, corner
from conftest import Install
from httpx2 import Client, ConnectError, TransportError, get
from project import Installed, logged, serving, working
from services import PATIENCE_SECONDS, Database, Redis
from template import program

pytestmark = pytest.mark.environment

# The collector that the projects' own tests have.
COLLECTOR = program(ROOT / "{{cookiecutter.project_slug}}" / "tests" / "otlp_receiver.py")
PRODUCT = {"sku": "A-1", "name": "Lamp", "price": "19.99", "currency": "EUR"}
FILES_ONLY = {"license"}
PROVEN = {
    "database_driver": {"aiosqlite", "asyncpg", "psycopg", "asyncmy", "none"},
    "cache_backend": {"memory", "redis", "tiered", "none"},
    "task_queue": {
        "in-process",
        "taskiq-redis",
        "taskiq-rabbitmq",
        "celery-redis",
        "celery-rabbitmq",
        "none",
    },
    "monitoring": {"prometheus", "opentelemetry", "none"},
    "error_tracking": {"sentry", "none"},
    "example": {"catalog", "none"},
}


def eventually(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def keeps_data(project: Installed, settings: dict[str, str]) -> bool:
    """Whether a product that was written before a restart is there after it."""
    with serving(project, **settings) as client:
        created = client.post("/v1/products", json=PRODUCT)
        assert created.status_code == 201, created.text
        location = created.headers["Location"]
        assert client.get(location).json()["name"] == "Lamp"
    with serving(project, **settings) as client:
        status = client.get(location).status_code
    assert status in {200, 404}
    return status == 200


def checks(project: Installed, settings: dict[str, str]) -> set[str]:
    """What readiness asks."""
    with serving(project, **settings) as client:
        ready = client.get("/health/ready")
        assert ready.status_code == 200
        return set(ready.json()["checks"])


def serves_products(project: Installed) -> bool:
    """Whether the example answers."""
    with serving(project) as client:
        status = client.get("/v1/products").status_code
        documented = "/v1/products" in client.get("/openapi.json").json()["paths"]
    assert status in {200, 404}
    assert documented == (status == 200)
    return status == 200


class TestDatabaseDriver:
    @corner("defaults", "no-database", "asyncpg+tiered", "psycopg+redis", "asyncmy+no-cache")
    def test_data_survives_a_restart(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """With a database it does, in memory it does not."""
        project = installed(answers)
        kept = keeps_data(project, database(project, answers))
        assert kept == (answers["database_driver"] != "none")

    @corner("no-example", "bare")
    def test_readiness_asks_it(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """Without the example too, the service is ready only when its database is."""
        expected = set() if answers["database_driver"] == "none" else {"database"}
        project = installed(answers)
        assert checks(project, database(project, answers)) == expected


def cache_status(client: Client) -> str:
    """What the cache says of the answer to the same request each time; nothing without a cache."""
    # By one name, since each process has a port of its own.
    answer = client.get("/v1/products", headers={"Host": "service"})
    assert answer.status_code == 200
    status: str = answer.headers.get("cache-status", "").partition("; ")[2]
    return status.partition(";")[0]


class TestCacheBackend:
    @corner("defaults", "asyncmy+no-cache")
    def test_second_answer_comes_from_it(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """It is a hit, without a server; without a cache no answer speaks of one."""
        project = installed(answers)
        with serving(project, **database(project, answers)) as client:
            found = [cache_status(client), cache_status(client)]
        none = answers["cache_backend"] == "none"
        assert found == (["", ""] if none else ["fwd=uri-miss", "hit"])

    @corner("psycopg+redis", "asyncpg+tiered")
    def test_processes_share_it(
        self, installed: Install, database: Database, redis: Redis, answers: Answers
    ) -> None:
        """What one process has cached is a hit in another, and outdated there by a write."""
        project = installed(answers)
        settings = {**database(project, answers), **redis.settings}
        with serving(project, **settings) as client, serving(project, **settings) as other:
            assert [cache_status(client), cache_status(other)] == ["fwd=uri-miss", "hit"]
            assert client.post("/v1/products", json=PRODUCT).status_code == 201
            eventually(lambda: other.get("/v1/products").json()["items"])

    @corner("psycopg+redis", "asyncpg+tiered")
    def test_memory_is_in_front(
        self, installed: Install, database: Database, redis: Redis, answers: Answers
    ) -> None:
        """A server that hangs keeps no process from what it has in memory, if it has any."""
        tiered = answers["cache_backend"] == "tiered"
        # Seconds in which nobody notices.
        patient = {"APP_CACHE__PING_SECONDS": "60"} if tiered else {}
        project = installed(answers)
        settings = {**database(project, answers), **redis.settings, **patient}
        with serving(project, **settings) as client:
            eventually(lambda: cache_status(client) == "hit")
            cache_status(client)
            redis.pause()
            assert (cache_status(client) == "hit") == tiered


PRICES = "sku,name,price,currency\nP-1,Lamp,19.99,EUR\n"


def import_prices(client: Client) -> str:
    """The path of the task that a posted price list became."""
    answer = client.post(
        "/v1/products/import", content=PRICES, headers={"Content-Type": "text/csv"}
    )
    assert answer.status_code == 202, answer.text
    location: str = answer.headers["Location"]
    return location


class TestTaskQueue:
    @corner("defaults", "no-database")
    def test_service_performs_tasks(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """Without a worker, in the service itself."""
        project = installed(answers)
        with serving(project, **database(project, answers)) as client:
            task = import_prices(client)
            eventually(lambda: client.get(task).json()["state"] == "succeeded")
            assert client.get(task).json()["result"]["imported"] == 1

    @corner("asyncpg+tiered", "psycopg+redis", "asyncmy+no-cache", "celery-redis")
    def test_worker_performs_tasks(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """They wait for one, and it is another process."""
        project = installed(answers)
        settings = database(project, answers)
        with serving(project, **settings) as client:
            task = import_prices(client)
            assert client.get(task).json()["state"] == "queued"
            with working(project, **settings):
                eventually(lambda: client.get(task).json()["state"] == "succeeded")
                assert client.get(task).json()["result"]["imported"] == 1

    @corner("no-tasks", "no-example", "bare")
    def test_status_is_told(self, installed: Install, database: Database, answers: Answers) -> None:
        """Of tasks that do not exist, unless there can be none; without the example too."""
        project = installed(answers)
        with serving(project, **database(project, answers)) as client:
            answer = client.get(f"/v1/tasks/{'0' * 32}")
        assert answer.status_code == 404
        told = "There is no task" in answer.json()["detail"]
        assert told == (answers["task_queue"] != "none")


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def figures(port: int) -> dict[str, float]:
    """What is told at a port: sums over all labels but the route, by name and route."""
    sums: dict[str, float] = {}
    for line in get(f"http://127.0.0.1:{port}/metrics").text.splitlines():
        if found := re.fullmatch(r"(\w+)(\{.*\})? (\S+)", line):
            route = re.search(r'route="([^"]*)"', found[2] or "")
            key = f"{found[1]} {route[1]}" if route else found[1]
            sums[key] = sums.get(key, 0) + float(found[3])
    return sums


class TestMonitoring:
    @corner("defaults", "asyncmy+no-cache", "no-example", "no-database")
    def test_figures_are_told(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """Of requests, of the process, and of each room that was chosen."""
        project, port = installed(answers), free_port()
        settings = {**database(project, answers), "APP_MONITORING__SAMPLE_SECONDS": "0.2"}
        with serving(project, APP_MONITORING__PORT=str(port), **settings) as client:
            for _ in range(3):
                assert client.get("/").status_code == 200
            if answers["example"] == "catalog":
                assert client.get("/v1/products").status_code == 200
                import_prices(client)
            told = figures(port)
            assert told["http_requests_total /"] == 3
            assert told["process_resident_memory_bytes"] > 0
            has = {
                "database_driver": "database_statement_duration_seconds_count",
                "cache_backend": "cache_size_bytes",
                "task_queue": "tasks_queued",
            }
            for prompt, name in has.items():
                if answers["example"] == "catalog":
                    assert (name in told) == (answers[prompt] != "none")
            if answers["task_queue"] == "in-process" and answers["example"] == "catalog":
                eventually(lambda: figures(port).get("task_attempts_total"))
            if answers["cache_backend"] != "none" and answers["example"] == "catalog":
                eventually(lambda: figures(port).get("cache_requests_total"))

    @corner("asyncpg+tiered")
    def test_figures_of_several_workers(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """Every answer is counted, also those of a worker that was killed, and no request twice."""
        project, port = installed(answers), free_port()
        many = {"APP_HTTP__WORKERS": "4", "APP_MONITORING__PORT": str(port)}

        def begun() -> list[int]:
            return [int(pid) for pid in re.findall(r"server process \[(\d+)\]", "".join(log))]

        with logged(project, {**database(project, answers), **many}) as (client, log):
            eventually(lambda: len(begun()) == 4)
            sent = received = 0
            for part in range(2):
                for _ in range(200):
                    sent += 1
                    with suppress(TransportError):
                        client.get("/", headers={"Connection": "close"})
                        received += 1
                if part == 0:
                    os.kill(begun()[0], signal.SIGKILL)
                    eventually(lambda: len(begun()) == 5)
            assert received <= figures(port)["http_requests_total /"] <= sent

    @corner("asyncpg+tiered", "psycopg+redis")
    def test_worker_tells_its_own(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """At another port, whichever processes perform the tasks."""
        project, port = installed(answers), free_port()
        settings = database(project, answers)
        with serving(project, **settings) as client:
            task = import_prices(client)
            with working(project, **settings, APP_MONITORING__WORKER_PORT=str(port)):
                eventually(lambda: client.get(task).json()["state"] == "succeeded")
                eventually(lambda: figures(port).get("task_attempts_total"))

    @corner("no-monitoring", "bare")
    def test_nobody_is_told(self, installed: Install, database: Database, answers: Answers) -> None:
        """No port, no route, no package; the lines of the log stay."""
        project, port = installed(answers), free_port()
        settings = {**database(project, answers), "APP_MONITORING__PORT": str(port)}
        with logged(project, settings) as (client, log):
            assert client.get("/metrics").status_code == 404
            with pytest.raises(ConnectError):
                get(f"http://127.0.0.1:{port}/metrics")
            eventually(lambda: any('"route":"unmatched"' in line for line in log))
        for package in ("prometheus_client", "psutil"):
            assert "ModuleNotFoundError" in project.complaints("-c", f"import {package}")


def telling(collector: Any) -> dict[str, str]:
    """Settings of a service that tells `collector` at once."""
    return {
        "APP_MONITORING__ENDPOINT": collector.url,
        "APP_MONITORING__SPANS_SECONDS": "0.1",
        "APP_MONITORING__METRICS_SECONDS": "0.1",
        "APP_MONITORING__SAMPLE_SECONDS": "0.2",
    }


class TestOpenTelemetry:
    @corner("opentelemetry", "opentelemetry+taskiq")
    def test_service_is_told_of(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """Spans, figures, and lines of the log that name the trace."""
        project = installed(answers)
        with COLLECTOR.receiving() as collector:
            settings = {**database(project, answers), **telling(collector)}
            with logged(project, settings) as (client, log):
                for _ in range(3):
                    assert client.get("/").status_code == 200
                eventually(lambda: len(collector.named("GET /")) == 3)
                eventually(lambda: collector.points("http_requests_total"))
            counted = collector.points("http_requests_total")["GET", "/", "2xx"]
            assert counted.as_double == 3
            assert collector.points("process_resident_memory_bytes")
            for span in collector.named("GET /"):
                lines = [line for line in log if span.trace_id in line]
                assert [json.loads(line)["event"] for line in lines] == ["request"]

    @corner("opentelemetry+taskiq", "opentelemetry+celery")
    def test_trace_reaches_the_worker(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """From the request through its statements into the job, its statements and commands."""
        project = installed(answers)
        with COLLECTOR.receiving() as collector:
            settings = {**database(project, answers), **telling(collector)}
            with serving(project, **settings) as client, working(project, **settings):
                task = import_prices(client)
                eventually(lambda: client.get(task).json()["state"] == "succeeded")
            # What was left was sent at the end, by either of them.
            [request] = collector.named("POST /v1/products/import")
            [job] = collector.named("catalog.import_prices")
            trace = collector.trace(request.trace_id)
            assert job in trace
            assert request.resource["service.instance.id"] != job.resource["service.instance.id"]
            for part in (request, job):
                of_process = [span for span in trace if span.resource == part.resource]
                statements = {span.attributes.get("db.query.text", "") for span in of_process}
                assert any(statement.startswith("INSERT INTO") for statement in statements)
            assert any(
                span.attributes.get("db.system.name") == "redis" and span.resource == job.resource
                for span in trace
            )
            ids = {span.span_id for span in trace}
            assert [span for span in trace if span.parent_id not in ids] == [request]
            assert collector.points("task_attempts_total")


class Endpoint(ThreadingHTTPServer):
    """A Sentry, which keeps what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Intake)


class _Intake(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, *items = gzip.decompress(body).decode().splitlines()
        self.server.events += [json.loads(event) for event in items[1::2]]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        thread = Thread(target=endpoint.serve_forever, args=[0.02])
        thread.start()
        yield endpoint
        endpoint.shutdown()
        thread.join()


def take_tables_away(path: Path) -> None:
    """Leave nothing for the catalogue to find, which nobody expects."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE product")


class TestErrorTracking:
    @corner("defaults", "sentry")
    def test_request_that_failed(
        self, installed: Install, endpoint: Endpoint, answers: Answers, tmp_path: Path
    ) -> None:
        """It is told of where somebody wants to hear, with its id, and before the service ends."""
        path = tmp_path / "service.db"
        settings = {
            "APP_DATABASE__URL": f"sqlite+aiosqlite:///{path}",
            "APP_SENTRY__DSN": f"http://key@127.0.0.1:{endpoint.server_port}/1",
        }
        with serving(installed(answers), **settings) as client:
            assert client.get("/v1/products/404").status_code == 404
            take_tables_away(path)
            answer = client.get("/v1/products?limit=7", headers={"Cookie": "a=of-a-cookie"})
            assert answer.status_code == 500
        # Jobs that run by themselves have missed the table too.
        events = [event for event in endpoint.events if "request_id" in event["tags"]]
        assert bool(events) == (answers["error_tracking"] == "sentry")
        for event in events:
            assert event["tags"]["request_id"] == answer.headers["X-Request-ID"]
            assert event["tags"]["route"] == "/v1/products"
            assert "of-a-cookie" not in json.dumps(event)

    @corner("celery-redis")
    def test_task_that_failed(
        self,
        installed: Install,
        database: Database,
        endpoint: Endpoint,
        answers: Answers,
        tmp_path: Path,
    ) -> None:
        """In a process of a worker."""
        path = tmp_path / "service.db"
        settings = {
            **database(project := installed(answers), answers),
            "APP_DATABASE__URL": f"sqlite+aiosqlite:///{path}",
            "APP_SENTRY__DSN": f"http://key@127.0.0.1:{endpoint.server_port}/1",
        }
        with serving(project, **settings) as client:
            task = import_prices(client)
            take_tables_away(path)
            with working(project, **settings):
                task_id = task.rpartition("/")[2]
                eventually(lambda: task_id in [e["tags"]["task_id"] for e in endpoint.events])


class TestExample:
    @corner("defaults", "no-database", "no-example", "bare")
    def test_products_answer(self, installed: Install, answers: Answers) -> None:
        """With the catalogue they are served and documented, without it there is nothing there."""
        assert serves_products(installed(answers)) == (answers["example"] == "catalog")


class TestCaught:
    def test_value_without_a_test(self) -> None:
        """Whoever adds a value proves it here."""
        promised = {key: set(v) for key, v in CHOICES.items() if key not in FILES_ONLY}
        assert promised == PROVEN

    @corner("defaults")
    def test_false_toggle(self, installed: Install, answers: Answers) -> None:
        """A database that forgets is seen: this one's file is taken away between two starts."""
        project = installed(answers)
        with serving(project, APP_DATABASE__URL="sqlite+aiosqlite:///forgotten.db") as client:
            created = client.post("/v1/products", json=PRODUCT)
        for path in project.path.glob("forgotten.db*"):
            path.unlink()
        with serving(project, APP_DATABASE__URL="sqlite+aiosqlite:///forgotten.db") as client:
            assert client.get(created.headers["Location"]).status_code == 404
