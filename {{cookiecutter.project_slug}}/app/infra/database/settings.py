"""Settings of the database."""

from typing import Annotated

from pydantic import BaseModel, Field


class DatabaseSettings(BaseModel, use_attribute_docstrings=True):
    url: Annotated[str, Field(repr=False)]
    """Where the data is; a relative SQLite path is relative to the working directory."""

    pool_size: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Connections that each process keeps open."""

    pool_overflow: Annotated[int, Field(ge=0, le=1_000)] = 10
    """Connections that a process opens beyond `pool_size` while it is busy."""

    pool_recycle_seconds: Annotated[int, Field(ge=-1, le=86_400)] = 1_800
    """Seconds after which a connection is replaced; -1 keeps it."""

    acquire_timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 5.0
    """Seconds that a request waits for a free connection before it is answered with 503."""

    busy_timeout_seconds: Annotated[float, Field(ge=0, le=86_400)] = 5.0
    """Seconds that SQLite waits for another writer before the request is answered with 503."""
