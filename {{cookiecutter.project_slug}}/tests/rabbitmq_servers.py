"""RabbitMQ for the tests: queues in a server that is there, and servers of their own."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import skip_or_fail

TEST_BROKER_URL = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
PATIENCE_SECONDS = 180


def new_prefix() -> str:
    """Begins the names that a test uses in the server: the same ones each time.

    RabbitMQ keeps a quorum queue until somebody deletes it, and some hundreds of them are more than
    it takes. What earlier tests have left in it is of tasks that nobody knows.
    """
    project = hashlib.sha256(str(Path(__file__).parent).encode()).hexdigest()
    return f"test-{project[:8]}-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


def missing_binaries() -> str | None:
    """Why no server can be started here, if so."""
    if os.name == "nt":
        return "Windows has no signals to kill a server with"
    return None if _program() else "rabbitmq-server is not on PATH: install RabbitMQ"


def _program() -> str | None:
    # Where the one on PATH becomes another user, and forgets its environment, there is this one.
    debian = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return str(debian) if debian.exists() else shutil.which("rabbitmq-server")


class PrivateServer:
    """A server of the test's own, at free ports of 127.0.0.1, which it may harm."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        with (
            socket.create_server(("127.0.0.1", 0)) as first,
            socket.create_server(("127.0.0.1", 0)) as second,
            socket.create_server(("127.0.0.1", 0)) as third,
        ):
            self.port, distribution, self._mapper = (
                each.getsockname()[1] for each in (first, second, third)
            )
        configuration = self._folder / "rabbitmq.conf"
        configuration.write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self._environment = {
            **os.environ,
            "HOME": str(self._folder),
            "RABBITMQ_NODENAME": f"test-{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(self._mapper),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again with what it had, and wait until it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [_program() or ""],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.1)
        raise RuntimeError((self._folder / "output").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        """End it in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without warning."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it, and remove everything of it."""
        self.kill()
        # Nodes find one another by it; the first one starts it, and none ends it.
        if mapper := shutil.which("epmd"):
            subprocess.run(
                [mapper, "-port", str(self._mapper), "-kill"],
                check=False,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)
            self._process.wait(PATIENCE_SECONDS)

    def _answers(self) -> bool:
        """Whether it says which version of the protocol it speaks, to who asks for none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                client.sendall(b"AMQP\x00\x00\x00\x00")
                return client.recv(4) == b"AMQP"
        except OSError:
            return False


@pytest.fixture(scope="session")
def broker_server(pytestconfig: pytest.Config) -> Iterator[PrivateServer]:
    """A server for the tests of this process, since it takes ten seconds to make one."""
    if (reason := missing_binaries()) is not None:
        skip_or_fail(pytestconfig, reason)
    server = PrivateServer()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def private_broker(broker_server: PrivateServer) -> PrivateServer:
    """A server that runs, which the test may harm; it loses nothing when it is restarted."""
    broker_server.start()
    return broker_server
