"""What SQLite needs to serve many requests at once."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import URL, Connection, Engine, Insert, Table, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.compiler import compiles

from app.errors import Unavailable
from app.infra import timing
from app.infra.database.dialect import Dialect, Failure, updates
from app.infra.database.prepared import Found
from app.infra.database.settings import DatabaseSettings
from app.infra.database.tables import Identity

_READING = "reading"
# Busy, locked, read-only, I/O error, full, cannot open: https://www.sqlite.org/rescode.html
_GONE = {5, 6, 8, 10, 13, 14}
# Reads the file, where `SELECT 1` would not.
_ANY_TABLE = "SELECT name FROM sqlite_master LIMIT 1"


class SqliteSettings(DatabaseSettings):
    pool_size: Annotated[int, Field(ge=1, le=1_000)] = 10
    """Connections that each process opens as it needs them, and keeps."""

    pool_overflow: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Connections that a process opens beyond `pool_size`, and closes when that many are free."""

    busy_timeout_seconds: Annotated[float, Field(ge=0, le=86_400)] = 5.0
    """Seconds that SQLite waits for another writer before the request is answered with 503."""

    def pool_bounds(self, workers: int) -> tuple[int, int]:  # noqa: ARG002
        return self.pool_size, self.pool_overflow


class Sqlite(Dialect):
    """SQLite through aiosqlite."""

    example_url = "sqlite+aiosqlite:///data.db"
    alters_by_copying = True
    reading_options = {_READING: True}  # noqa: RUF012

    def __init__(self, settings: SqliteSettings) -> None:
        self._settings = settings
        self._turns = Turns(settings.acquire_timeout_seconds)

    @staticmethod
    async def fetch(connection: Any, sql: str, values: Sequence[Any]) -> Found:
        # One turn of its thread, and not one for each step.
        rows: Found = await connection.execute_fetchall(sql, values)
        return rows

    def has_failed(self, error: Exception) -> bool:
        return isinstance(error, sqlite3.IntegrityError)

    def is_good(self, connection: Any, error: Exception) -> bool:  # noqa: ARG002
        return self.own_failure(error) is None

    def own_failure(self, error: Exception) -> Failure | None:
        return Failure.GONE if getattr(error, "sqlite_errorcode", 0) & 0xFF in _GONE else None

    def engine_options(self) -> dict[str, Any]:
        return {"connect_args": {"factory": _Connection}}

    def set_up(self, engine: Engine) -> None:
        """Write-ahead logging, foreign keys, and transactions that begin when they are told to.

        A transaction that reads before it writes cannot wait for another writer, however long the
        busy time-out: SQLite fails it at once, since its view is out of date. So every unit of work
        that may write takes the write lock as it begins (https://www.sqlite.org/isolation.html).
        """
        pragmas = (
            "PRAGMA journal_mode = WAL",
            # With a write-ahead log, this loses nothing when the process dies; a power cut may take
            # the last transactions, and never harms the file.
            "PRAGMA synchronous = NORMAL",
            "PRAGMA foreign_keys = ON",
            f"PRAGMA busy_timeout = {round(self._settings.busy_timeout_seconds * 1e3)}",
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
            if not connection.get_execution_options().get(_READING):
                connection.exec_driver_sql("BEGIN IMMEDIATE")

    def failure(self, error: DBAPIError) -> Failure | None:
        return self.own_failure(error.orig) if isinstance(error.orig, Exception) else None

    def turn(self) -> AbstractAsyncContextManager[None]:
        return self._turns.next()

    async def probe(self, url: URL) -> None:
        # A connection of aiosqlite that cannot be opened leaves a thread behind, which prints a
        # traceback when the event loop ends before it does.
        if path := _path(url):
            await asyncio.to_thread(lambda: sqlite3.connect(path).close())

    async def check(self, engine: AsyncEngine) -> None:
        if path := _path(engine.url):
            # Connections would go on with what was the file.
            await asyncio.to_thread(path.stat)
        # Waits for no writer, however long that takes.
        async with engine.execution_options(**self.reading_options).connect() as connection:
            await connection.exec_driver_sql(_ANY_TABLE)

    def lock_migrations(self, connection: Connection) -> Callable[[], None]:
        connection.begin()  # takes the one lock that there is
        return lambda: None

    def upsert(self, table: Table, key: str, changes: Sequence[str]) -> Insert:
        statement = insert(table)
        values = updates(table, statement.excluded, changes)
        return statement.on_conflict_do_update(index_elements=[key], set_=values)


class _Connection(sqlite3.Connection):
    """Gives the write lock back when it is closed.

    SQLite itself keeps it for as long as somebody holds a cursor of the connection, as tracebacks
    of cancelled requests do (https://www.sqlite.org/c3ref/close.html).
    """

    def close(self) -> None:
        with suppress(sqlite3.Error):  # closed already, or past repair
            self.rollback()
        super().close()


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
            Unavailable: it did not come in time.
        """
        try:
            with timing.measured("queue"):
                async with asyncio.timeout(self._timeout_seconds):
                    await self._lock.acquire()
        except TimeoutError as error:
            raise Unavailable("The database is busy writing; try again shortly.") from error
        try:
            yield
        finally:
            self._lock.release()


def _path(url: URL) -> Path | None:
    """The file; None for a database in memory, or one that is named in SQLite's own way."""
    named = url.database and url.database != ":memory:" and not url.query
    return Path(str(url.database)) if named else None


@compiles(Identity, "sqlite")
def _numbered(_column_type: Identity, _compiler: Any, **_options: Any) -> str:
    """SQLite numbers rows by itself only under the very word INTEGER."""
    return "INTEGER"


@event.listens_for(Table, "before_create")
def _number_once(table: Table, _connection: Any, **_options: Any) -> None:
    """SQLite would give the id of a deleted row to the next one, and with it its ETag."""
    table.dialect_options["sqlite"]["autoincrement"] = True
