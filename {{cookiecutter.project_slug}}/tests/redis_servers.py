"""Redis for the tests: a part of their own of a server that is there, and servers of their own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.services import skip_or_fail

PATIENCE_SECONDS = 30
TEST_REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")


class ServerMissing(Exception):
    """There is no Redis that tests may use."""


def ask(url: str, *command: object) -> Any:
    """What Redis answers to `command`, which must not be one of those that block."""
    with Redis.from_url(url, socket_timeout=PATIENCE_SECONDS) as client:
        return client.execute_command(*command)


def find() -> str:
    """The URL of TEST_REDIS_URL, else of this machine's Redis, which others may be using."""
    try:
        ask(TEST_REDIS_URL, "PING")
    except (OSError, RedisError) as error:
        raise ServerMissing(
            f"No Redis for tests at {TEST_REDIS_URL} ({error}): start it with `docker compose up "
            "--wait`, or name another in TEST_REDIS_URL"
        ) from None
    return TEST_REDIS_URL


def missing_binaries() -> str | None:
    """Why no server can be started here, if so."""
    if os.name == "nt":
        return "Windows has no signals to kill and pause a server with"
    return None if _program() else "redis-server is not on PATH: install Redis"


def _program() -> str | None:
    return shutil.which("redis-server")


class PrivateServer:
    """A server process of the test's own, at a free port of 127.0.0.1, which it may harm."""

    def __init__(self, **options: str) -> None:
        """`options` are Redis's own, with _ for -."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = {"bind": "127.0.0.1", "save": "", "appendonly": "no", **options}
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, or start it again, with nothing in it, and wait until it answers."""
        options = []
        for name, value in {"port": str(self.port), **self._options}.items():
            options += [f"--{name.replace('_', '-')}", value]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program() or "", *options],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError, RedisError):
                self.ask("PING")
                return
            time.sleep(0.02)
        raise RuntimeError((self._folder / "log").read_text(errors="replace")[-2000:])

    def ask(self, *command: object) -> Any:
        """What it answers to `command`."""
        return ask(self.url, *command)

    def calls(self) -> dict[str, int]:
        """How often each command was called, scripts' own included, since CONFIG RESETSTAT."""
        stats: dict[str, dict[str, int]] = self.ask("INFO", "commandstats")
        return {name.removeprefix("cmdstat_"): counts["calls"] for name, counts in stats.items()}

    def stop(self) -> None:
        """Let it end its connections and then itself."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        self._wait()

    def kill(self) -> None:
        """End it without warning."""
        self._signal(signal.SIGKILL)
        self._wait()

    def pause(self) -> None:
        """Let it hang: connections stay, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, whatever it is doing, and remove everything of it."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._folder)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config) -> str:
    """The Redis in which tests have a prefix of their own."""
    try:
        return find()
    except ServerMissing as missing:
        skip_or_fail(pytestconfig, str(missing))
        raise


@pytest.fixture
def where(redis_url: str) -> Iterator[dict[str, str]]:
    """Settings of a part of Redis that is the test's own."""
    prefix = f"test-{os.urandom(8).hex()}"
    yield {"url": redis_url, "prefix": prefix}
    # Everything else ends by itself.
    shared = prefix + ":{shared}:"
    ask(redis_url, "DEL", f"{shared}clock", f"{shared}generation")


@pytest.fixture
def private_redis(pytestconfig: pytest.Config) -> Iterator[Callable[..., PrivateServer]]:
    """Starts servers of the test's own, with the options that it names."""
    if (reason := missing_binaries()) is not None:
        skip_or_fail(pytestconfig, reason)
    started = []

    def start(**options: str) -> PrivateServer:
        server = PrivateServer(**options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.close()
