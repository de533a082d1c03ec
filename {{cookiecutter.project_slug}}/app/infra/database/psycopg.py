"""PostgreSQL through psycopg 3."""

import math
import ssl
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import FeatureNotSupported

from app.infra.database.postgresql import Postgresql

_TLS_MODES = {"off": "disable", "require": "require", "verify": "verify-full"}

_CANCEL_TIMEOUT_SECONDS = 1.0


class _Connection(AsyncConnection[Any]):
    async def _try_cancel(self, *, timeout: float = _CANCEL_TIMEOUT_SECONDS) -> None:  # noqa: ASYNC109  # its name
        """Cancel the statement of a task that is cancelled; a failure closes the connection.

        As it is, it waits for ten seconds in all when the server hangs.
        """
        await self.cancel_safe(timeout=min(timeout, _CANCEL_TIMEOUT_SECONDS))


class Psycopg(Postgresql):
    example_url = "postgresql+psycopg://user:password@host/database"

    def is_stale_plan(self, error: BaseException) -> bool:
        # Its number has other causes too, and its text may be in any language.
        return (
            isinstance(error, FeatureNotSupported)
            and error.diag.source_function == "RevalidateCachedQuery"
        )

    def engine_options(self) -> dict[str, Any]:
        settings = self._settings
        options = " ".join(f"-c {name}={value}" for name, value in self.session_settings().items())
        arguments: dict[str, Any] = {
            "async_creator_fn": _Connection.connect,
            # libpq takes whole seconds, and reads 1 as 2.
            "connect_timeout": math.ceil(settings.connect_timeout_seconds),
            "application_name": settings.application_name,
            "sslmode": _TLS_MODES[settings.tls],
        }
        if options:
            arguments["options"] = options
        settings.ssl_context()  # libpq reads the file later, and then names no setting
        if settings.tls == "verify":
            # In a wheel, libpq does not know where this system has its own.
            system = ssl.get_default_verify_paths().cafile or "system"
            arguments["sslrootcert"] = str(settings.tls_ca_file or system)
        if settings.transaction_pooling:
            arguments["prepare_threshold"] = None
        return {"connect_args": arguments}
