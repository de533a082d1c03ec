"""Settings of the HTTP side."""

from typing import Annotated

from pydantic import BaseModel, Field

from app.infra.lists import JSON, Texts

TRUST_NONE = "none"
# Names, or wildcards for all names below one.
Hosts = Annotated[list[Annotated[str, Field(pattern=r"^(\*|(\*\.)?[^*/]+)$")]], *JSON]


class HttpSettings(BaseModel):
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 inside a container."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """Port to listen at; 0 takes a free one."""

    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of server processes."""

    allowed_hosts: Hosts = ["*"]
    """Host names that are answered to, as JSON; `*` is refused in production. Health is exempt."""

    allowed_origins: Texts = []
    """Origins whose pages may call the service (CORS), as JSON."""

    trusted_proxies: Texts = []
    """Addresses or networks whose `X-Forwarded-*` headers are believed, as JSON."""

    request_id_header: str = "X-Request-ID"
    """Header whose well-formed value becomes the request's id; `none` trusts no header."""

    max_body_bytes: Annotated[int, Field(ge=1)] = 2 * 1024 * 1024
    """Bytes of request body that are accepted; more is answered with 413."""

    compress_minimum_bytes: Annotated[int, Field(ge=1)] = 1_000
    """Bytes below which a response is not worth compressing."""

    slow_request_seconds: Annotated[float, Field(gt=0, le=86_400)] = 1.0
    """Seconds after which a request is logged as slow, with where its time went."""

    health_timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 2.0
    """Seconds that each check of `/health/ready` may take."""

    drain_seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    """Seconds that requests are still taken after SIGTERM; unset is 0, in production 5."""

    stop_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 20
    """Seconds after draining in which requests in flight must finish."""

    worker_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 30
    """Seconds after which one of several workers that does not answer is replaced."""
