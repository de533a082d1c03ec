"""Settings of every cache."""

from typing import Annotated

from pydantic import BaseModel, Field

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class CacheSettings(BaseModel):
    version: Annotated[int, Field(ge=0)] = 1
    """Number of the key space: counted up, what older releases have cached is left behind."""

    max_value_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024
    """Bytes of the largest value that is cached."""

    compress_minimum_bytes: Annotated[int, Field(ge=1)] = 16 * 1024
    """Bytes from which on a value is compressed."""

    ttl_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Number, as part of the lifetime, by which entries end earlier, so that not all do at once."""

    refresh_ahead: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Number, as part of the lifetime: asked for in this last part, an entry is loaded anew."""

    lease_seconds: Seconds = 5.0
    """Seconds after which another process loads what one that died was loading."""

    wait_seconds: Seconds = 10.0
    """Seconds, at most, that a process waits for what another one loads."""

    warm_budget_seconds: Annotated[float, Field(ge=0, le=86_400)] = 2.0
    """Seconds by which warming the cache may delay the start."""

    warm_interval_seconds: Seconds = 1.0
    """Seconds after which it is looked whether what is kept warm has to be loaded anew."""
