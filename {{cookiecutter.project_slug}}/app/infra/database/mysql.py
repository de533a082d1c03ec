"""MySQL and MariaDB through asyncmy."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Insert,
    PoolProxiedConnection,
    Table,
    event,
    select,
)
from sqlalchemy.dialects.mysql import DATETIME, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.ext.compiler import compiles

from app.errors import StartupError
from app.infra.database.dialect import Failure, Rows, in_order, sorted_by, updates
from app.infra.database.server import ServerDialect
from app.infra.database.tables import UtcDateTime

_READING = "reading"
# https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html
_COLLISION = {1020, 1213}  # record has changed, deadlock
_LATE = {1969, 3024}  # statement time-out of MariaDB, of MySQL
_GONE = {
    1040,  # too many connections
    1053,  # shutdown
    1158, 1159, 1160, 1161,  # network
    1205,  # lock wait time-out
    1290, 1836,  # read-only: no longer the primary
    1927,  # connection killed
    2002, 2003, 2006, 2013, 2014, 2055,  # no connection, or lost
}  # fmt: skip
_UNFIT = {1264, 1366, 1406, 1690}  # out of range, not in this character set, too long
# Of this database: locks are the server's, and their names hold 64 characters.
_MIGRATIONS = "concat('migrations ', md5(database()))"
_MIGRATIONS_WAIT_SECONDS = 600


class Mysql(ServerDialect):
    example_url = "mysql+asyncmy://user:password@host/database"
    transactional_ddl = False
    has_returning = False
    reading_options = {_READING: True}  # noqa: RUF012

    def engine_options(self) -> dict[str, Any]:
        settings = self._settings
        arguments: dict[str, Any] = {
            "connect_timeout": settings.connect_timeout_seconds,
            "program_name": settings.application_name,
            "charset": "utf8mb4",
            # Turning it on and off for each request would cost round trips.
            "autocommit": True,
        }
        if context := settings.ssl_context():
            arguments["ssl"] = context
        return {"connect_args": arguments}

    def set_up(self, engine: Engine) -> None:
        """Sessions with a time-out, and transactions that begin when they are told to."""
        # It repeats each note of the server's, such as that it names primary keys itself.
        logging.getLogger("asyncmy").setLevel(logging.ERROR)
        _roll_back_only_what_began(engine)

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _record: Any) -> None:
            if self._settings.transaction_pooling:
                return
            cursor = connection.cursor()
            cursor.execute(_time_out(connection, self._settings.statement_timeout_seconds))
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.close()

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            if not connection.get_execution_options().get(_READING):
                connection.exec_driver_sql("BEGIN")

    def failure(self, error: DBAPIError) -> Failure | None:
        code = error.orig.args[0] if error.orig is not None and error.orig.args else None
        if code in _UNFIT:
            return Failure.UNFIT
        if code in _COLLISION:
            return Failure.COLLISION
        if code in _LATE:
            return Failure.LATE
        if error.connection_invalidated or code in _GONE:
            return Failure.GONE
        return None

    async def probe(self, url: URL) -> None:
        if not url.database:
            raise ValueError("the URL names no database")

    def lock_migrations(self, connection: Connection) -> Callable[[], None]:
        # Neither waiting for the other process nor building an index is bound by the time-out.
        connection.exec_driver_sql(_time_out(connection.connection, 0))
        lock = f"SELECT GET_LOCK({_MIGRATIONS}, {_MIGRATIONS_WAIT_SECONDS})"
        if not connection.exec_driver_sql(lock).scalar():
            raise StartupError(
                "Another process has been migrating for ten minutes; see what holds it up."
            )
        return lambda: connection.exec_driver_sql(f"DO RELEASE_LOCK({_MIGRATIONS})").close()

    def ddl_dialect(self, engine: AsyncEngine) -> str:
        is_mariadb = getattr(engine.dialect, "is_mariadb", False)
        return "mariadb" if is_mariadb else engine.dialect.name

    async def insert_all(
        self, session: AsyncSession, table: Table, rows: Rows, key: str
    ) -> list[int]:
        await session.execute(insert(table), rows)
        return await _ids(session, table, rows, key)

    async def upsert_all(
        self, session: AsyncSession, table: Table, rows: Rows, key: str, changes: Sequence[str]
    ) -> list[int]:
        await session.execute(self.upsert(table, key, changes), sorted_by(key, rows))
        return await _ids(session, table, rows, key)

    def upsert(self, table: Table, key: str, changes: Sequence[str]) -> Insert:  # noqa: ARG002
        statement = insert(table)
        return statement.on_duplicate_key_update(updates(table, statement.inserted, changes))

    async def lag_seconds(self, engine: AsyncEngine) -> float:
        async with engine.execution_options(**self.reading_options).connect() as connection:
            rows = await connection.exec_driver_sql("SHOW REPLICA STATUS")
            status = rows.mappings().first()
        if status is None:
            return 0.0
        names = ("Seconds_Behind_Source", "Seconds_Behind_Master")
        seconds = next(status[name] for name in names if name in status)
        return float("inf") if seconds is None else float(seconds)


def _roll_back_only_what_began(engine: Engine) -> None:
    """Each connection is rolled back after its use, which would double what one read costs."""
    roll_back = engine.dialect.do_rollback

    def if_it_began(dbapi_connection: PoolProxiedConnection) -> None:
        connection: Any = dbapi_connection.driver_connection
        # The server says so with each of its answers.
        if connection.get_transaction_status():
            roll_back(dbapi_connection)

    engine.dialect.do_rollback = if_it_began  # type: ignore[method-assign]


def _time_out(connection: Any, seconds: float) -> str:
    """The statement that has those after it cancelled after so long; 0 is never."""
    if _is_mariadb(connection):
        return f"SET SESSION max_statement_time = {seconds}"
    return f"SET SESSION max_execution_time = {round(seconds * 1e3)}"


def _is_mariadb(connection: Any) -> bool:
    return "MariaDB" in connection.driver_connection.get_server_info()


async def _ids(session: AsyncSession, table: Table, rows: Rows, key: str) -> list[int]:
    """MySQL knows no RETURNING: the rows are found by what tells them apart."""
    column = table.c[key]
    found = await session.execute(
        select(column, table.c.id).where(column.in_([row[key] for row in rows]))
    )
    return in_order(found, rows, key)


@event.listens_for(Table, "before_create")
def _keep_text_as_it_is(table: Table, _connection: Any, **options: Any) -> None:
    """Every character, told apart by its code point, trailing spaces included."""
    dialect = options["_ddl_runner"].dialect
    if "collate" not in table.dialect_options[dialect.name]:
        table.dialect_options[dialect.name]["charset"] = "utf8mb4"
        table.dialect_options[dialect.name]["collate"] = (
            "utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin"
        )


@compiles(UtcDateTime, "mysql", "mariadb")
def _with_microseconds(_column_type: UtcDateTime, compiler: Any, **options: Any) -> str:
    kept: str = compiler.process(DATETIME(fsp=6), **options)
    return kept
