"""MySQL or MariaDB for the tests: databases of their own in a server, and servers of their own."""

import atexit
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Select, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from app.infra.database import Database
from tests.databases import Plan
from tests.servers import PATIENCE_SECONDS, ServerMissing, ask, new_folder, run_beside

SLEEP = "SELECT SLEEP(60)"
SETTINGS = {
    "bind_address": "127.0.0.1",
    "socket": "socket",  # In the folder of the data.
    "innodb_buffer_pool_size": "16M",
    "innodb_log_file_size": "4M",
    # A killed server loses nothing by these.
    "innodb_flush_log_at_trx_commit": "2",
    "innodb_doublewrite": "0",
    "log_bin": "binlog",  # A replica reads it.
}


class Server:
    """A server that is there already; tests make databases of their own in it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def create(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{os.urandom(8).hex()}"
        ask(self.url, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove the database, and whoever is still connected to it."""
        name = make_url(url).database
        for connection in ask(self.url, "SHOW PROCESSLIST"):
            if connection.db == name:
                # It may have ended by itself.
                with suppress(SQLAlchemyError):
                    ask(self.url, f"KILL {connection.Id}")
        # Transactions of others would be waited for, by default for a year.
        patience = "SET lock_wait_timeout = 30, sql_notes = 0"
        ask(self.url, patience, f"DROP DATABASE IF EXISTS `{name}`")

    def empty(self, url: str) -> None:
        """Remove the rows of all tables but Alembic's, and let their ids begin again."""
        names = [row[0] for row in ask(url, "SHOW TABLES") if row[0] != "alembic_version"]
        ask(url, "SET FOREIGN_KEY_CHECKS = 0", *(f"TRUNCATE TABLE `{name}`" for name in names))


def find(default_url: str) -> Server:
    """The server of TEST_DATABASE_URL, else the one where `default_url` has it."""
    named = os.environ.get("TEST_DATABASE_URL")
    driver = make_url(default_url).drivername
    url = make_url(named or default_url)._replace(drivername=driver, database=None)
    # Only root may make databases, with the same password or with none.
    root = url.set(username="root")
    urls = [url] if named else [root, root._replace(password=None)]
    reasons = []
    for url in urls:
        try:
            ask(url, "SELECT 1", seconds=5)
            return Server(url.render_as_string(hide_password=False))
        except (OSError, SQLAlchemyError) as error:
            reasons.append(str(getattr(error, "driver_exception", error)) or "no answer")
    raise ServerMissing(
        f"No MySQL for tests at {url.host}:{url.port or 3306} ({reasons[0].splitlines()[0]}): "
        "start it with `docker compose up --wait`, or name another in TEST_DATABASE_URL"
    )


def _program(*names: str) -> str:
    """The first that is there, also where PATH does not say, or nothing."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin", "/usr/libexec"])
    return next(filter(None, (shutil.which(name, path=path) for name in names)), "")


def missing_binaries() -> str | None:
    """Why no server can be started here, if so."""
    if os.name == "nt":
        return "Windows has no signals to kill and pause a server with"
    return None if _program("mariadbd", "mysqld") else "mariadbd and mysqld are not on PATH"


def _run(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    # A server that is killed leaves files there.
    return run_beside(folder, *command, TMPDIR=str(folder))


@cache
def _template() -> str:
    """The files of a new server, made once: copying them is faster."""
    folder = new_folder("mysql")
    atexit.register(shutil.rmtree, folder)
    options = ["--no-defaults", f"--datadir={folder}/data", "--innodb-log-file-size=4M"]
    if install := _program("mariadb-install-db"):
        command = [install, *options, "--auth-root-authentication-method=normal", "--skip-test-db"]
    else:
        command = [_program("mysqld"), *options, "--initialize-insecure"]
    assert _run(folder, *command).wait() == 0, (folder / "log").read_text()
    return str(folder / "data")


class PrivateServer:
    """A server process of the test's own, at a free port of 127.0.0.1."""

    encrypted = "SHOW STATUS WHERE Variable_name = 'Ssl_cipher' AND Value <> ''"

    def __init__(self, default_url: str, options: Mapping[str, str] = {}) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        self.url = f"{make_url(default_url).drivername}://root@127.0.0.1:{port}/test"
        self._settings = {**SETTINGS, **options, "port": str(port), "server_id": str(port)}
        template = _template()
        self.folder = new_folder("mysql")
        self._process = _run(self.folder, "cp", "-Rp", template, "data")
        self._process.wait()

    def configure(self, **options: str) -> None:
        """Let the server have other options, from its next start on."""
        self._settings |= options

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Let the server speak TLS, from its next start on."""
        for path in (certificate, key):
            copy = shutil.copy(path, self.folder / "data")
            shutil.chown(copy, self.folder.stat().st_uid)
        self.configure(ssl_cert=certificate.name, ssl_key=key.name)

    def start(self) -> None:
        """Start the server, or start it again, and wait until it answers."""
        command = [_program("mariadbd", "mysqld"), "--no-defaults", f"--datadir={self.folder}/data"]
        command += [f"--{name}={value}" for name, value in self._settings.items()]
        self._process = _run(self.folder, *command)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError, SQLAlchemyError):
                create = "CREATE DATABASE IF NOT EXISTS test CHARACTER SET utf8mb4"
                ask(self.url.removesuffix("test"), "SET sql_notes = 0", create, seconds=5)
                return
            time.sleep(0.02)
        raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        """Let the server end its connections and then itself."""
        self.resume()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End the server at once."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let the server hang: connections stay, and nobody answers."""
        self.resume()
        self._process.send_signal(signal.SIGSTOP)
        # Its threads stop one after the other.
        os.waitpid(self._process.pid, os.WUNTRACED)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def replica(self, delay_seconds: float = 0) -> "PrivateServer":
        """A started server that follows this one, by whole seconds; in the words of MariaDB."""
        replica = PrivateServer(self.url, self._settings)
        with ExitStack() as failed:
            failed.callback(replica.close)
            replica.start()
            # All that this server has done so far is still in its log.
            port = self._settings["port"]
            source = f"master_host='127.0.0.1', master_port={port}, master_user='root'"
            how = f"master_connect_retry=1, master_delay={math.ceil(delay_seconds)}"
            ask(replica.url, f"CHANGE MASTER TO {source}, {how}", "START SLAVE")
            failed.pop_all()
        return replica

    def close(self) -> None:
        """End the server, whatever it is doing, and remove everything of it."""
        self.kill()
        shutil.rmtree(self.folder)


async def explain(database: Database, statement: Select[Any]) -> Plan:
    """How `statement` would be executed."""
    async with database.engine.connect() as connection:
        for table in statement.get_final_froms():
            await connection.exec_driver_sql(f"ANALYZE TABLE {table}")
        compiled = statement.compile(
            dialect=connection.dialect, compile_kwargs={"literal_binds": True}
        )
        # Written out, a time has its zone, which as a parameter it has not.
        explained = str(compiled).replace("+00:00'", "'")
        plan = str(await connection.scalar(text(f"EXPLAIN FORMAT=JSON {explained}")))
    index = re.search(r'"key": "(\w+)"', plan)
    return Plan(
        index=index[1] if index else None,
        bounded='"access_type": "range"' in plan,
        sorts="filesort" in plan,
    )
