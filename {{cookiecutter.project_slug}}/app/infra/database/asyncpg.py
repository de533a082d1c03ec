"""PostgreSQL through asyncpg."""

from collections.abc import Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from app.infra.database.dialect import Failure
from app.infra.database.postgresql import Postgresql
from app.infra.database.prepared import Found


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # its name
        """Not wait, unless told how long, until the server has closed it too: that may hang."""
        if timeout is None:
            self.terminate()
        else:
            await super().close(timeout=timeout)


class Asyncpg(Postgresql):
    example_url = "postgresql+asyncpg://user:password@host/database"

    @staticmethod
    async def fetch(connection: Any, sql: str, values: Sequence[Any]) -> Found:
        rows: Found = await connection.fetch(sql, *values)
        return rows

    def has_failed(self, error: Exception) -> bool:
        if isinstance(error, asyncpg.PostgresError):
            # These are a connection that is lost, and a server that is being stopped.
            return not str(error.sqlstate).startswith(("08", "57P"))
        # Nothing was sent; the latter when the server's last words are here, and its end is not.
        return isinstance(error, asyncpg.InterfaceError) or (
            isinstance(error, asyncpg.InternalClientError)
            and str(error).startswith("cannot switch to state")
        )

    def is_good(self, connection: Any, error: Exception) -> bool:
        return not (connection.is_closed() or isinstance(error, asyncpg.InternalClientError))

    def own_failure(self, error: Exception) -> Failure | None:
        return Failure.LATE if isinstance(error, asyncpg.QueryCanceledError) else None

    def is_stale_plan(self, error: BaseException) -> bool:
        return isinstance(error.__cause__, asyncpg.InvalidCachedStatementError)

    def engine_options(self) -> dict[str, Any]:
        settings = self._settings
        arguments: dict[str, Any] = {
            "connection_class": _Connection,
            "timeout": settings.connect_timeout_seconds,
            "ssl": settings.ssl_context() or False,
            "server_settings": {
                "application_name": settings.application_name,
                **self.session_settings(),
            },
        }
        if settings.transaction_pooling:
            # Each statement is parsed again, without a name, together with its execution: whichever
            # connection of the proxy's it meets, and whatever became of its tables.
            arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        return {"connect_args": arguments}
