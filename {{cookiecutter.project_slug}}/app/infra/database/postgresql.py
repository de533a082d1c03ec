"""What PostgreSQL means by its errors, and the few statements that only it knows."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Insert, String, Table
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.compiler import compiles

from app.infra.database.dialect import Failure, updates
from app.infra.database.server import ServerDialect
from app.infra.database.tables import CodePoints

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_COLLISION = {"40001", "40P01"}  # serialisation failure, deadlock
_LATE = {"57014"}  # query cancelled, here by its time-out
_GONE = {
    "25006",  # read-only: no longer the primary
    "25P03",  # idle in transaction for too long
    "55P03",  # a lock was not available
}
# Out of the driver's range, too long, out of range (of dates too), not in this character set.
_UNFIT = {"22000", "22001", "22003", "22008", "22021", "22P05"}
# Connection exception, insufficient resources, operator intervention, system error.
_GONE_CLASSES = ("08", "53", "57", "58")
# Any number, but the same in every process: "migrations" in ASCII, as far as 63 bits hold it.
_MIGRATIONS = int.from_bytes(b"migratio") >> 1


class Postgresql(ServerDialect):
    def session_settings(self) -> dict[str, str]:
        """What is set on each connection as it is made."""
        if self._settings.transaction_pooling:
            # A proxy knows its own connections only.
            return {}
        milliseconds = str(round(self._settings.statement_timeout_seconds * 1e3))
        unit_milliseconds = str(round(self._settings.unit_timeout_seconds * 1e3))
        return {
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": unit_milliseconds,
        }

    def set_up(self, engine: Engine) -> None:
        """Nothing: connections are set up as they are made."""

    def failure(self, error: DBAPIError) -> Failure | None:
        state = getattr(error.orig, "sqlstate", None) or ""
        if state in _UNFIT or (isinstance(error, DataError) and not state):
            return Failure.UNFIT
        if state in _COLLISION:
            return Failure.COLLISION
        if state in _LATE:
            return Failure.LATE
        if error.connection_invalidated or state in _GONE or state.startswith(_GONE_CLASSES):
            return Failure.GONE
        return None

    def lock_migrations(self, connection: Connection) -> Callable[[], None]:
        # Neither waiting for the other process nor building an index is bound by the time-out.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATIONS})")
        return lambda: None  # the end of the transaction does

    def upsert(self, table: Table, key: str, changes: Sequence[str]) -> Insert:
        statement = insert(table)
        values = updates(table, statement.excluded, changes)
        return statement.on_conflict_do_update(index_elements=[key], set_=values)

    async def lag_seconds(self, engine: AsyncEngine) -> float:
        async with engine.execution_options(**self.reading_options).connect() as connection:
            result = await connection.exec_driver_sql(_LAG)
            return float(result.scalar_one())


# What was received and is not replayed is at most as old as the last transaction that was. A
# replica that receives nothing, or has just begun, cannot know how old it is.
_LAG = """
SELECT CASE
    WHEN NOT pg_is_in_recovery() THEN 0
    WHEN NOT EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 'infinity'::float8
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
    ELSE coalesce(
        extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 'infinity'::float8
    )
END::float8
"""


@compiles(CodePoints, "postgresql")
def _by_code_point(column_type: CodePoints, compiler: Any, **options: Any) -> str:
    kept: str = compiler.process(String(column_type.length, collation="C"), **options)
    return kept
