"""What is common to databases that are servers, which all processes share."""

import ssl
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncEngine

from app.infra.database.dialect import Dialect
from app.infra.database.settings import DatabaseSettings, Seconds
from app.infra.lists import Texts

_LARGEST_POOL = 20
Connections = Annotated[int, Field(ge=1, le=10_000)]


class ServerSettings(DatabaseSettings):
    max_connections: Connections = 80
    """Connections that all workers together may open; the server's own limit, less what others
    need, divided by the instances of the service."""

    pool_size: Connections | None = None
    """Connections that each worker opens as it needs them, and keeps; unset is what `pool_overflow`
    leaves of its share of `max_connections`, at most 20."""

    pool_overflow: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Connections that a worker opens beyond `pool_size`, and closes when that many are free; it
    costs more than to wait for one of those that are kept, unless they are in use for long."""

    connect_timeout_seconds: Seconds = 5.0
    """Seconds in which the server must accept a connection."""

    statement_timeout_seconds: Seconds = 10.0
    """Seconds after which the server cancels a statement; then 504."""

    application_name: str = "app"
    """What the server calls these connections in its own lists."""

    tls: Literal["off", "require", "verify"] = "off"
    """`require` encrypts; `verify` also checks who answers."""

    tls_ca_file: Path | None = None
    """Certificates that `verify` trusts, in PEM; unset are those of the system."""

    transaction_pooling: bool = False
    """A proxy between here and the server lends a connection for one transaction at a time. Nothing
    is prepared and nothing set on a connection then: give the role its statement time-out."""

    replica_urls: Texts = Field(default_factory=list, repr=False)
    """Read-only copies of the database, as JSON."""

    replica_check_seconds: Seconds = 1.0
    """Seconds between two looks at each replica."""

    replica_max_lag_seconds: Seconds = 5.0
    """Seconds that a replica may be behind before it is left out."""

    sticky_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """Seconds that a client who wrote reads from the primary, by a cookie; 0 sets none."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        # A replica is left out at the end of a look that it does not answer.
        look_seconds = self.replica_check_seconds + self.connect_timeout_seconds
        safe = self.replica_max_lag_seconds + look_seconds
        if 0 < self.sticky_seconds < safe:
            raise ValueError(
                f"sticky_seconds must be at least {safe:g}, which is replica_max_lag_seconds,"
                " replica_check_seconds and connect_timeout_seconds, or else a client may miss what"
                " it wrote"
            )
        return self

    def pool_bounds(self, workers: int) -> tuple[int, int]:
        """Connections that one of `workers` processes keeps, and opens beyond them when busy.

        Raises:
            ValueError: together they would be more than `max_connections`.
        """
        share = self.max_connections // workers
        overflow = self.pool_overflow
        size = self.pool_size or max(1, min(share - overflow, _LARGEST_POOL))
        if workers * (size + overflow) > self.max_connections:
            raise ValueError(
                f"{workers} workers with {size} + {overflow} connections each are more than"
                f" APP_DATABASE__MAX_CONNECTIONS={self.max_connections}; start fewer workers, or"
                " correct one of these settings."
            )
        return size, overflow

    def ssl_context(self) -> ssl.SSLContext | None:
        """What `tls` asks for; None when it is off.

        Raises:
            OSError: `tls_ca_file` cannot be read.
        """
        if self.tls == "off":
            return None
        context = ssl.create_default_context(cafile=self.tls_ca_file)
        if self.tls == "require":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class ServerDialect(Dialect):
    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings

    @abstractmethod
    async def lag_seconds(self, engine: AsyncEngine) -> float:
        """Seconds that the replica behind `engine` is behind; infinite when it cannot know."""
