"""HTTP/1.1 as uvicorn speaks it, with a bound on what comes before a request's body."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


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
