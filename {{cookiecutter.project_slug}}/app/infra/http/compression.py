"""Compressed responses."""

import re

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipResponder, IdentityResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.http.headers import first

GZIP_SUFFIX = "-gzip"
"""Ends the entity tag of a compressed response."""

# zlib's level 9 costs several times level 5 and saves about one byte in a hundred.
_LEVEL = 5


class CompressionMiddleware:
    """gzip for what is large and compresses; streams go out chunk by chunk.

    A strong validator names one sequence of bytes (RFC 9110, section 8.8.1), so that a compressed
    response carries a tag of its own.
    """

    def __init__(self, app: ASGIApp, *, minimum_bytes: int) -> None:
        self._app = app
        self._minimum_bytes = minimum_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send_on: Send | None = None

        async def send_compressed(message: Message) -> None:
            nonlocal send_on
            if send_on is None and message["status"] == 304:
                _say_what_is_held(scope, message)
                send_on = send
            elif send_on is None:
                send_on = send if self._is_small(message) else self._large(scope, message, send)
            await send_on(message)

        await self._app(scope, receive, send_compressed)

    def _is_small(self, start: Message) -> bool:
        """Whether that is known beforehand; most responses are, and pass by all the rest."""
        length = first(start.get("headers", ()), b"content-length")
        return length is not None and int(length) < self._minimum_bytes

    def _large(self, scope: Scope, start: Message, send: Send) -> Send:
        """Starlette's part of it, which says `Vary` where it could have compressed."""
        # It looks for the word alone, and so would take `gzip;q=0` for a wish.
        if not _takes_gzip(scope):
            if _says_vary(start):
                return send
            responder = IdentityResponder(self._app, self._minimum_bytes)
            responder.send = send
            return responder.send_with_compression

        async def send_with_tag(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                if (b"content-encoding", b"gzip") in headers:
                    message["headers"] = [_tagged(name, value) for name, value in headers]
            await send(message)

        responder = GZipResponder(self._app, self._minimum_bytes, _LEVEL)
        responder.send = send_with_tag
        return responder.send_with_compression


def _say_what_is_held(scope: Scope, start: Message) -> None:
    """Let a 304 say what the whole response would (RFC 9110, section 15.4.5)."""
    headers = MutableHeaders(raw=start.setdefault("headers", []))
    headers.add_vary_header("Accept-Encoding")
    _, tag = _tagged(b"etag", headers.get("etag", "").encode("latin-1"))
    held = [value for header, value in scope["headers"] if header == b"if-none-match"]
    if _takes_gzip(scope) and tag.startswith(b'"') and any(tag in value for value in held):
        headers["etag"] = tag.decode("latin-1")


def _says_vary(start: Message) -> bool:
    """Let the start of JSON say so, which is all that there is to do; of others it is not known."""
    headers = start.get("headers", [])
    plain = (
        first(headers, b"content-type") == b"application/json"
        and first(headers, b"content-encoding") is None
    )
    if plain:
        MutableHeaders(raw=headers).add_vary_header("Accept-Encoding")
    return plain


def _takes_gzip(scope: Scope) -> bool:
    accepted = first(scope["headers"], b"accept-encoding")
    return accepted is not None and takes_gzip(accepted.decode("latin-1"))


def takes_gzip(accept_encoding: str) -> bool:
    """By the value of Accept-Encoding (RFC 9110, section 12.5.3)."""
    for coding in accept_encoding.lower().split(","):
        name, _, parameter = coding.partition(";")
        if name.strip() == "gzip":
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", parameter) is None
    return False


def _tagged(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    if name == b"etag" and value.startswith(b'"'):
        return name, value[:-1] + GZIP_SUFFIX.encode() + b'"'
    return name, value
