"""What the tests ask of servers: of one that is there already, and of one that is their own."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Protocol

from sqlalchemy import URL, NullPool
from sqlalchemy.ext.asyncio import create_async_engine

PATIENCE_SECONDS = 60


class ServerMissing(Exception):
    """There is no server to make databases in."""


def ask(url: URL | str, *statements: str, seconds: float = PATIENCE_SECONDS) -> list[Any]:
    """The rows of the last answer, asked in a thread: the caller's event loop may be running."""

    async def connect_and_ask() -> list[Any]:
        engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        async with asyncio.timeout(seconds), engine.connect() as connection:
            for statement in statements:
                result = await connection.exec_driver_sql(statement)
            return [*result] if result.returns_rows else []

    # A loop that every driver takes, on Windows too.
    with ThreadPoolExecutor(1) as pool, closing(asyncio.SelectorEventLoop()) as loop:
        return pool.submit(loop.run_until_complete, connect_and_ask()).result()


def new_folder(user: str) -> Path:
    """A folder of `user`, if there is one, for programs that refuse to be run by root."""
    folder = Path(tempfile.mkdtemp(prefix=f"{user}-"))
    if os.geteuid() == 0:
        users = Path("/etc/passwd").read_text()
        shutil.chown(folder, user if f"\n{user}:" in users else "nobody")
    return folder


def run_beside(folder: Path, *command: str, **environment: str) -> subprocess.Popen[bytes]:
    """A program of the owner of `folder`, which writes to the log there."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=folder.stat().st_uid,
        )


class PrivateServer(Protocol):
    """A server process that a test may harm."""

    encrypted: ClassVar[str]
    """A statement that finds a row if it is sent through an encrypted connection."""

    @property
    def url(self) -> str:
        """Its one database, in the driver's own form."""

    def configure(self, **options: str) -> None:
        """Let it have other options, from its next start on."""

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Let it speak TLS, from its next start on."""

    def start(self) -> None:
        """Start it, or start it again at the same port, and wait until it answers."""

    def stop(self) -> None:
        """Let it end its connections and then itself."""

    def kill(self) -> None:
        """End it without warning."""

    def pause(self) -> None:
        """Let it hang: connections stay, and nobody answers."""

    def resume(self) -> None:
        """Let it go on."""

    def replica(self, delay_seconds: float = 0) -> "PrivateServer":
        """Another server, started, which follows this one after a delay."""

    def close(self) -> None:
        """End it, and remove everything of it."""
