"""Looking a header up, and security headers for an API, after OWASP's REST security cheat sheet."""

from collections.abc import Iterable

Header = tuple[bytes, bytes]

_EVERYWHERE: list[Header] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
_NOTHING_EMBEDDED = b"default-src 'none'; frame-ancestors 'none'"
# The documentation's page loads its script from a CDN and starts it inline.
_DOCUMENTATION = (
    b"default-src 'none'; frame-ancestors 'none'; connect-src 'self'; "
    b"img-src 'self' data: https://fastapi.tiangolo.com; "
    b"script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    b"style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    b"font-src https://fonts.gstatic.com; worker-src blob:"
)
_ONE_YEAR_OF_HTTPS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")


def first(headers: Iterable[Header], name: bytes) -> bytes | None:
    """The first value of a header, whose name is in lower case; None where there is none."""
    for each, value in headers:
        if each == name:
            return value
    return None


def security_headers(*, production: bool, documentation: bool = False) -> list[Header]:
    """What is added to each response; `documentation` allows what its pages load."""
    policy = _DOCUMENTATION if documentation else _NOTHING_EMBEDDED
    headers = [*_EVERYWHERE, (b"content-security-policy", policy)]
    return [*headers, _ONE_YEAR_OF_HTTPS] if production else headers
