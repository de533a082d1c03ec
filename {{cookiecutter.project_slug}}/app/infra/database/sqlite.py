"""What SQLite needs to serve many requests at once."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

READING = "sqlite_reading"
"""Execution option of connections that only read: they begin no transaction."""


# Busy, locked, read-only, I/O error, full, cannot open: https://www.sqlite.org/rescode.html
_PASSING = {5, 6, 8, 10, 13, 14}


def is_passing(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later, unlike one that names a table wrongly."""
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _PASSING


class TurnTimeout(Exception):
    """The writers before this one took too long."""


class Turns:
    """Lets one writer of this process after the other begin, in the order in which they came.

    SQLite takes one at a time anyway, but whom it lets in next is chance, and each that waits holds
    a connection, so that a crowd of writers would keep readers out.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._lock = asyncio.Lock()
        self._timeout_seconds = timeout_seconds

    @asynccontextmanager
    async def next(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it.

        Raises:
            TurnTimeout: it did not come in time.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._lock.acquire()
        except TimeoutError as error:
            raise TurnTimeout from error
        try:
            yield
        finally:
            self._lock.release()


# Reads the file, where `SELECT 1` would not.
ANY_TABLE = text("SELECT name FROM sqlite_master LIMIT 1")


def require_file(url: URL) -> None:
    """Raise `FileNotFoundError` when the file is gone: connections would go on with what was it."""
    if url.database and not url.query:
        Path(url.database).stat()


def probe(url: URL) -> None:
    """Open the file once, on a thread of its caller's; raises `sqlite3.Error`.

    A connection of aiosqlite that cannot be opened leaves a thread behind, which prints a traceback
    when the event loop ends before it does.
    """
    if url.database and not url.query:
        sqlite3.connect(url.database).close()


def set_up(engine: Engine, *, busy_timeout_seconds: float) -> None:
    """Write-ahead logging, foreign keys, and transactions that begin when they are told to.

    A transaction that reads before it writes cannot wait for another writer, however long the busy
    time-out: SQLite fails it at once, since its view is out of date. So every unit of work that may
    write takes the write lock as it begins (https://www.sqlite.org/isolation.html).
    """
    pragmas = (
        "PRAGMA journal_mode = WAL",
        # With a write-ahead log, this loses nothing when the process dies; a power cut may take the
        # last transactions, and never harms the file.
        "PRAGMA synchronous = NORMAL",
        "PRAGMA foreign_keys = ON",
        f"PRAGMA busy_timeout = {round(busy_timeout_seconds * 1e3)}",
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # The driver's own implicit BEGIN knows nothing of IMMEDIATE.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(READING):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
