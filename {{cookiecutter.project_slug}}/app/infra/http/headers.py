"""Heads of responses, and security headers for an API, after OWASP's REST security cheat sheet."""

from collections.abc import Iterable, Sequence

Header = tuple[bytes, bytes]

# What a name consists of (RFC 9110, section 5.6.2), in lower case, and a value (section 5.5).
_NAME_BYTES = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_VALUE_BYTES = bytes([*b"\t", *range(0x20, 0x7F), *range(0x80, 0x100)])
_LENGTH = b"content-length"
_HAVE_A_SAY_IN_IT = frozenset({b"connection", b"transfer-encoding"})
_as_line = b": ".join

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


def lines_of(headers: Iterable[Header]) -> bytes:
    """As they are written, without a last end of a line."""
    return b"\r\n".join(map(_as_line, headers))


def framed(headers: Sequence[Header]) -> tuple[bytes, int] | None:
    """The lines of a head, and how many bytes its body has; None where anything is unusual.

    That is a name or a value that is not as it should be, or is not in lower case, and whatever but
    Content-Length has a say in how the response ends.
    """
    body_bytes = _length_bytes(headers)
    lines = lines_of(headers)
    # Nothing but the ends of lines is left: no value has one of its own.
    whole = lines.translate(None, _VALUE_BYTES) == b"\r\n" * (len(headers) - 1)
    return (lines, body_bytes) if whole and body_bytes is not None else None


def _length_bytes(headers: Sequence[Header]) -> int | None:
    named = dict(headers)
    if b"".join(named).translate(None, _NAME_BYTES) or not _HAVE_A_SAY_IN_IT.isdisjoint(named):
        return None
    value = named.get(_LENGTH, b"")
    if len(named) < len(headers) and [name for name, _ in headers].count(_LENGTH) > 1:
        return None
    return int(value) if value.isdigit() else None


def security_headers(*, production: bool, documentation: bool = False) -> list[Header]:
    """What is added to each response; `documentation` allows what its pages load."""
    policy = _DOCUMENTATION if documentation else _NOTHING_EMBEDDED
    headers = [*_EVERYWHERE, (b"content-security-policy", policy)]
    return [*headers, _ONE_YEAR_OF_HTTPS] if production else headers
