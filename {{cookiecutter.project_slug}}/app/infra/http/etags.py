"""Entity tags made of a version number, and the conditions that clients put on them."""

from app.errors import PreconditionFailed
from app.infra.http.compression import GZIP_SUFFIX

IF_NONE_MATCH = {
    "name": "if-none-match",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "title": "If-None-Match"},
    "description": "ETag of the version that you hold",
}
"""What OpenAPI says of the header, for a route that looks at it by itself: to have FastAPI find it
takes a hot route as long as a tenth of everything else."""


def etag(version: int) -> str:
    """The strong validator of a resource at `version` (RFC 9110, section 8.8.3)."""
    return f'"{version}"'


def require_match(if_match: str | None, version: int) -> None:
    """Hold a write to the version that its client has seen (RFC 9110, section 13.1.1).

    Raises:
        PreconditionFailed: `if_match` is given and names another version.
    """
    if if_match is None or if_match.strip() == "*" or etag(version) in _strong_tags(if_match):
        return
    raise PreconditionFailed(
        "The resource has changed since you read it; read it again and repeat the change."
    )


def is_current(if_none_match: str | None, version: int) -> bool:
    """Whether the client already holds `version` (RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    weakened = ",".join(tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return weakened == "*" or etag(version) in _strong_tags(weakened)


def _strong_tags(header: str) -> set[str]:
    """The tags of a list, those of compressed responses among them; weak ones never match."""
    tags = (tag.strip() for tag in header.split(","))
    return {tag.replace(f'{GZIP_SUFFIX}"', '"') for tag in tags}
