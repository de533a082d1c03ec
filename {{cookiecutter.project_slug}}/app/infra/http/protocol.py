"""HTTP/1.1 as uvicorn speaks it, with a bound on what comes before a request's body.

The heads of responses are written in one go. Uvicorn looks at each header by itself, twice with an
expression: with a dozen of them, that is a tenth of what the cheapest response costs.
"""

from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from app.infra.http.headers import Header

MAX_HEAD_BYTES = 64 * 1024
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)

# What a name consists of (RFC 9110, section 5.6.2), in lower case, and a value (section 5.5).
_NAME_BYTES = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_VALUE_BYTES = bytes([*b"\t", *range(0x20, 0x7F), *range(0x80, 0x100)])
_LENGTH = b"content-length"
_HAVE_A_SAY_IN_IT = frozenset({b"connection", b"transfer-encoding"})
_as_line = b": ".join


class BoundedHeadProtocol(HttpToolsProtocol):
    """Refuses a request line and headers of more than about 64 KiB (RFC 6585, section 5).

    httptools would collect them for as long as they come. They arrive in pieces of up to 256 KiB,
    of which the last may pass the bound.
    """

    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The scope of a request is there when it begins, and complete when its head is.
        if self.scope is None or "method" in self.scope:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_REFUSAL)
            self.transport.close()


class Cycle(RequestResponseCycle):
    """A request and its response; whatever is unusual about a head is left to uvicorn."""

    async def send(self, message: Any) -> None:
        if self.response_started or not self._write_head(message):
            await super().send(message)

    def _write_head(self, message: Any) -> bool:
        """Write the head of a response of known length, on a connection that stays; or leave it."""
        unusual = self.disconnected or not self.keep_alive or self.access_log
        if unusual or self.flow.write_paused or message["type"] != "http.response.start":
            return False
        given = message.get("headers")
        if not isinstance(given, list):  # an iterator can be looked at once, which uvicorn does
            return False
        headers = self.default_headers + given
        body_bytes = _length_bytes(headers)
        lines = b"\r\n".join(map(_as_line, headers))
        # Nothing but the ends of lines is left: no value has one of its own.
        whole = lines.translate(None, _VALUE_BYTES) == b"\r\n" * (len(headers) - 1)
        if body_bytes is None or not whole:
            return False
        self.transport.write(b"%b%b\r\n\r\n" % (STATUS_LINE[message["status"]], lines))
        self.response_started = True
        self.waiting_for_100_continue = False
        self.chunked_encoding = False
        self.expected_content_length = body_bytes
        return True


def _length_bytes(headers: Sequence[Header]) -> int | None:
    """Of the body, where nothing but Content-Length has a say and all names are as they should."""
    named = dict(headers)
    if b"".join(named).translate(None, _NAME_BYTES) or not _HAVE_A_SAY_IN_IT.isdisjoint(named):
        return None
    value = named.get(_LENGTH, b"")
    if len(named) < len(headers) and [name for name, _ in headers].count(_LENGTH) > 1:
        return None
    return int(value) if value.isdigit() else None


# Uvicorn offers no other seam.
httptools_impl.RequestResponseCycle = Cycle  # type: ignore[misc]
