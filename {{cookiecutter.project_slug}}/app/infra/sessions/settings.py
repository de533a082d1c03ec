"""Settings of sessions."""

from typing import Annotated

from pydantic import BaseModel, Field

Lifetime = Annotated[float, Field(gt=0, le=366 * 86_400)]


class SessionSettings(BaseModel):
    cookie: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "session"
    """Name of the cookie; encrypted connections put `__Host-` before it."""

    idle_timeout_seconds: Lifetime = 30 * 60.0
    """Seconds after which a session that no request has used ends."""

    absolute_timeout_seconds: Lifetime = 7 * 86_400.0
    """Seconds after which a session ends, however often it is used, unless its user signs in."""

    max_bytes: Annotated[int, Field(ge=2, le=1024 * 1024)] = 4096
    """Bytes of JSON that one session may hold."""
