"""Servers for the services: databases in one that is there already, a Redis of the test's own."""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Never

import pytest
from choices import Answers, servers
from project import Installed, run

PATIENCE_SECONDS = 30
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
RABBITMQ_URL = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")

Database = Callable[[Installed, Answers], dict[str, str]]

FIND = """\
from tests.{support} import find
from app.settings import Settings

server = find(Settings.model_fields["database"].default.url)
"""
SUPPORT = {"asyncpg": "postgresql", "psycopg": "postgresql", "asyncmy": "mysql"}


def variables(answers: Answers) -> dict[str, str]:
    """Where the project's tests look for their servers, if they are named."""
    return {theirs: os.environ[ours] for ours, theirs in servers(answers) if os.environ.get(ours)}


@contextmanager
def databases(missing: Callable[[str], Never]) -> Iterator[Database]:
    """Makes databases, which are dropped at the end; `missing` is told why there is no server.

    What is made are settings: of a new database and of unused keys, for choices that need them.
    The keys expire.
    """
    made: list[Callable[[], object]] = []

    def make(project: Installed, answers: Answers) -> dict[str, str]:
        driver = answers["database_driver"]
        keys = {}
        queue = answers["task_queue"]
        if queue not in {"in-process", "none"}:
            url = REDIS_URL if queue.endswith("-redis") else RABBITMQ_URL
            keys = {"APP_TASKS__PREFIX": f"test-{uuid.uuid4().hex}", "APP_TASKS__URL": url}
        if answers["cache_backend"] in {"redis", "tiered"}:
            prefix = f"test-{uuid.uuid4().hex}"
            keys |= {"APP_CACHE__PREFIX": prefix, "APP_SESSIONS__PREFIX": prefix}
            keys |= {"APP_CACHE__URL": REDIS_URL, "APP_SESSIONS__URL": REDIS_URL}
        if driver not in SUPPORT:
            return keys

        def ask(statement: str) -> str:
            program = FIND.format(support=SUPPORT[driver]) + statement
            ended = run([project.python, "-c", program], project.path, variables(answers))
            said = ended.stdout.strip().splitlines()[-1:]
            if ended.returncode:
                missing("".join(said).partition("ServerMissing: ")[2] or ended.stdout)
            return "".join(said)

        url = ask("print(server.create())")
        made.append(lambda: ask(f"server.drop({url!r})"))
        return {**keys, "APP_DATABASE__URL": url}

    try:
        yield make
    finally:
        for drop in made:
            drop()


@pytest.fixture
def database(pytestconfig: pytest.Config) -> Iterator[Database]:
    """Settings of a new database and of unused keys, for choices that need them."""
    with databases(lambda reason: require_or_skip(pytestconfig, reason)) as make:
        yield make


class Redis:
    """A server process of the test's own, at a free port, which it may pause."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            ["redis-server", *options], cwd=folder, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
            except ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                break

    @property
    def settings(self) -> dict[str, str]:
        """Of a service that caches, and keeps its sessions, there."""
        url = f"redis://127.0.0.1:{self._port}/0"
        return {"APP_CACHE__URL": url, "APP_SESSIONS__URL": url}

    def pause(self) -> None:
        """Let it hang: connections stay, and nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def redis(pytestconfig: pytest.Config, tmp_path: Path) -> Iterator[Redis]:
    if shutil.which("redis-server") is None:
        require_or_skip(pytestconfig, "redis-server is not on PATH: install Redis")
    server = Redis(tmp_path)
    yield server
    server.close()


def require_or_skip(config: pytest.Config, reason: str) -> Never:
    """Skip what has no server, but not where all servers have to be there."""
    if config.getoption("require_services"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def required(config: pytest.Config, answers: Answers) -> list[str]:
    """The option that makes the project's own tests insist on their server."""
    insist = servers(answers) and config.getoption("require_services")
    return ["--require-services"] if insist else []
