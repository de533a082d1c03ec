"""The parser of requests, which reads on where a client wishes for another protocol."""

from collections.abc import Callable, Iterable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.infra.http.headers import Header, lines_of

_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})


class Parser(httptools.HttpRequestParser):
    """Takes `Upgrade` for a wish that nobody has to grant (RFC 9110, section 7.8).

    What follows such a head is its body, and the next request (RFC 9112, section 6). httptools
    leaves it to whoever speaks the other protocol; uvicorn loses it, or takes the body that comes
    later for a request of its own.
    """

    def __init__(
        self,
        protocol: HttpToolsProtocol,
        is_granted: Callable[[], bool],
        *,
        heard: "_Heard | None" = None,
    ) -> None:
        """`is_granted` tells whether the server speaks what is wished for."""
        super().__init__(heard or protocol)
        # As uvicorn has it: an answer that closes the connection goes out first.
        self.set_dangerous_leniencies(lenient_data_after_close=True)
        self._protocol = protocol
        self._is_granted = is_granted

    def feed_data(self, data: Any) -> None:
        """Read the next piece, of bytes in any form.

        Raises:
            HttpParserError: it is no HTTP.
            HttpParserUpgrade: the other protocol is one that the server speaks.
        """
        parser: Parser = self
        rest = data
        while rest:
            parser, rest = parser._read(rest)

    def ignores_upgrade(self) -> bool:
        """Whether the request wishes for a protocol that it does not get."""
        return self.should_upgrade() and not self._is_granted()

    def _read(self, data: Any) -> "tuple[Parser, Any]":
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._is_granted():
                raise
            return self._next(), memoryview(data)[upgrade.args[0] :]
        return self, b""

    def _next(self) -> "Parser":
        """The one that reads from behind the head, as if there had been no wish."""
        heard = _Heard(self._protocol)
        parser = self._protocol.parser = Parser(self._protocol, self._is_granted, heard=heard)
        parser._read(_head(self._protocol.headers))
        heard.is_past = True
        return parser


class _Heard:
    """Passes on all but a head that the protocol has heard already."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self.is_past = False
        self._protocol = protocol
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if self.is_past:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.is_past:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_past:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.is_past:
            self._protocol.on_headers_complete()


def _head(headers: Iterable[Header]) -> bytes:
    """One with the same body behind it."""
    framing = (header for header in headers if header[0] in _FRAMING)
    return b"POST / HTTP/1.1\r\n%b\r\n\r\n" % lines_of(framing)
