"""Settings of every database."""

from typing import Annotated

from pydantic import BaseModel, Field

# Databases count in milliseconds, and take none for no limit.
Seconds = Annotated[float, Field(ge=0.001, le=86_400)]


class DatabaseSettings(BaseModel):
    url: Annotated[str, Field(repr=False)]
    """Where the data is."""

    pool_recycle_seconds: Annotated[int, Field(ge=-1, le=86_400)] = 1_800
    """Seconds after which a connection is replaced; -1 keeps it."""

    pool_pre_ping: bool = False
    """Ask each connection whether it is alive before it is used, which costs a round trip. Off, a
    unit of work that meets a dead one is repeated."""

    acquire_timeout_seconds: Seconds = 5.0
    """Seconds that a request waits for a free connection before it is answered with 503."""

    unit_timeout_seconds: Seconds = 30.0
    """Seconds that a unit of work may take with all its statements; then 503."""

    slow_statement_seconds: Annotated[float, Field(gt=0, le=86_400)] = 0.5
    """Seconds after which a statement is logged as slow."""

    batch_window_seconds: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Seconds that a read by id waits for others to share its statement; 0 sends each alone."""

    batch_maximum: Annotated[int, Field(ge=1, le=1_000)] = 100
    """Number of ids that one such statement reads at most."""

    def pool_bounds(self, workers: int) -> tuple[int, int]:
        """Connections that one of `workers` processes keeps, and opens beyond them when busy."""
        raise NotImplementedError
