"""PostgreSQL for the tests: databases of their own in a server, and servers of their own."""

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Select, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from app.infra.database import Database
from tests.databases import Plan
from tests.servers import PATIENCE_SECONDS, ServerMissing, ask, new_folder, run_beside

SLEEP = "SELECT pg_sleep(60)"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # A killed server leaves nothing outside its folder, and loses nothing in it.
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    # A replica soon finds a server that is back.
    "wal_retrieve_retry_interval": "100ms",
}

EMPTY = """
DO $$ DECLARE names text; BEGIN
    SELECT string_agg(quote_ident(tablename), ', ') INTO names FROM pg_tables
    WHERE schemaname = 'public' AND tablename <> 'alembic_version';
    IF names IS NOT NULL THEN EXECUTE 'TRUNCATE ' || names || ' RESTART IDENTITY'; END IF;
END $$
"""


class Server:
    """A server that is there already; tests make databases of their own in it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def create(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{os.urandom(8).hex()}"
        # Nobody is connected to template0, which could then not be copied.
        ask(self.url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove the database, and whoever is still connected to it."""
        ask(self.url, f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def empty(self, url: str) -> None:
        """Remove the rows of all tables but Alembic's, and let their ids begin again."""
        ask(url, EMPTY)


def find(default_url: str) -> Server:
    """The server of TEST_DATABASE_URL, else the one where `default_url` has it."""
    named = os.environ.get("TEST_DATABASE_URL")
    driver = make_url(default_url).drivername
    url = make_url(named or default_url).set(drivername=driver, database="postgres")
    # Given a password, no driver looks for one in files.
    # Without a name it is the user who runs the tests, or a KeyError when that has none.
    nameless = url._replace(username=None, password=None)
    urls = [url] if named else [url, nameless.set(username="postgres", password="unused"), nameless]
    reasons = []
    for url in urls:
        try:
            ask(url, "SELECT 1", seconds=5)
            return Server(url.render_as_string(hide_password=False))
        except (OSError, KeyError, SQLAlchemyError) as error:
            reasons.append(str(getattr(error, "driver_exception", error)) or "no answer")
    raise ServerMissing(
        f"No PostgreSQL for tests at {url.host}:{url.port or 5432} ({reasons[0].splitlines()[0]}): "
        "start it with `docker compose up --wait`, or name another in TEST_DATABASE_URL"
    )


def _programs() -> Path | None:
    """The folder of the programs, which must be of one version: the newest, if none is on PATH."""
    packages = Path("/usr/lib/postgresql").glob("[1-9][0-9]/bin/initdb")
    initdb = shutil.which("initdb") or max(packages, default=None)
    return Path(initdb).resolve().parent if initdb else None


def missing_binaries() -> str | None:
    """Why no server can be started here, if so."""
    if os.name == "nt":
        return "Windows has no signals to kill and pause a server with"
    return None if _programs() else "initdb is not on PATH: install PostgreSQL's server"


def _run(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    return run_beside(folder, *command, PATH=f"{_programs()}{os.pathsep}{os.environ['PATH']}")


@cache
def _template() -> str:
    """The files of a new server, made once: copying them is faster."""
    folder = new_folder("postgres")
    atexit.register(shutil.rmtree, folder)
    options = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username=postgres")
    assert _run(folder, "initdb", *options, "data").wait() == 0, (folder / "log").read_text()
    return str(folder / "data")


class PrivateServer:
    """A server process of the test's own, at a free port of 127.0.0.1."""

    encrypted = "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl"

    def __init__(self, default_url: str, options: Mapping[str, str] = {}, *copy: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        self.url = f"{make_url(default_url).drivername}://postgres:unused@127.0.0.1:{port}/postgres"
        self._settings = {**SETTINGS, **options, "port": str(port)}
        copy = copy or ("cp", "-Rp", _template(), "data")
        self.folder = new_folder("postgres")
        self._process = _run(self.folder, *copy)  # When it fails, start() shows the log.
        self._process.wait()

    def configure(self, **options: str) -> None:
        """Let the server have other options, from its next start on."""
        self._settings |= options

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Let the server speak TLS, from its next start on."""
        for path in (certificate, key):
            copy = shutil.copy(path, self.folder / "data")
            shutil.chown(copy, self.folder.stat().st_uid)
        self.configure(ssl="on", ssl_cert_file=certificate.name, ssl_key_file=key.name)

    def start(self) -> None:
        """Start the server, or start it again, and wait until it says that it answers."""
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        log = self.folder / "log"
        before = log.stat().st_size
        self._process = _run(self.folder, "postgres", "-D", "data", *settings)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            # Asked too early, it refuses, and then a driver may leave a socket to be closed.
            if b"ready to accept" in log.read_bytes()[before:]:
                return
            time.sleep(0.02)
        raise RuntimeError(log.read_text(errors="replace")[-2000:])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Let the server end its connections and then itself."""
        self.resume()
        self._process.send_signal(how)
        self._process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End all processes of the server: before, it would not start again."""
        while self._signal_children(signal.SIGKILL):
            pass
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let the server hang: connections stay, and nobody answers."""
        self._signal_children(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_children(signal.SIGCONT)
        self._process.send_signal(signal.SIGCONT)

    def _signal_children(self, number: signal.Signals) -> int:
        """Signal the processes of a server that now starts no more of them."""
        self._process.send_signal(signal.SIGSTOP)
        if self._process.returncode is not None:
            return 0
        ps = ["/bin/ps", "-A", "-o", "ppid=", "-o", "pid=", "-o", "stat="]
        listed = subprocess.run(ps, check=True, capture_output=True, text=True).stdout
        # Z has ended, and waits for its parent to notice.
        children = re.findall(rf"^ *{self._process.pid} +(\d+) +[^Z]", listed, re.MULTILINE)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), number)
        return len(children)

    def replica(self, delay_seconds: float = 0) -> "PrivateServer":
        """A started server that follows this one, and applies commits after a delay."""
        primary = f"--dbname={make_url(self.url).set(drivername='postgresql')}"
        copy = ("pg_basebackup", primary, "-D", "data", "-R", "-N", "-c", "fast")
        delay = {"recovery_min_apply_delay": f"{delay_seconds * 1000:.0f}ms"}
        replica = PrivateServer(self.url, {**self._settings, **delay}, *copy)
        with ExitStack() as failed:
            failed.callback(replica.close)
            replica.start()
            failed.pop_all()
        return replica

    def close(self) -> None:
        """End the server, whatever it is doing, and remove everything of it."""
        with suppress(subprocess.TimeoutExpired):
            self.stop(signal.SIGQUIT)
        self.kill()
        for lock in self.folder.glob("data/postmaster.pid"):
            # It was killed, and has not given back some memory: here are its key and id.
            memory = re.findall(r"^ *\d+ +(\d+) *$", lock.read_text(), re.MULTILINE)
            _run(self.folder, "ipcrm", "-m", *memory).wait()
        shutil.rmtree(self.folder)


async def explain(database: Database, statement: Select[Any]) -> Plan:
    """How `statement` would be executed."""
    async with database.engine.connect() as connection:
        await connection.exec_driver_sql("ANALYZE")
        compiled = statement.compile(
            dialect=connection.dialect, compile_kwargs={"literal_binds": True}
        )
        plan = await connection.scalar(text(f"EXPLAIN (FORMAT JSON) {compiled}"))
    nodes = list(_nodes(plan[0]["Plan"]))
    scan = nodes[-1]
    return Plan(
        index=scan.get("Index Name"),
        bounded="Index Cond" in scan,
        sorts=any("Sort" in node["Node Type"] for node in nodes),
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
