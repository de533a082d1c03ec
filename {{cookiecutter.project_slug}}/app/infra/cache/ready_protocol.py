"""HTTP/1.1 whose ready responses need no task each, which is much of what such a hit would cost.

They are made in the next turn of the event loop, one after the other, when all that there was to
read was read: to answer in between would wake the clients for each answer, which costs more.
"""

import time
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.infra.cache.ready import Ready, ReadyMiddleware
from app.infra.http.headers import Header, framed, lines_of
from app.infra.http.protocol import BoundedProtocol

_SCHEME = b"x-forwarded-proto"
_NO_LENGTH = (b"content-length", b"0")


class ReadyProtocol(BoundedProtocol):
    """Asks a `ReadyMiddleware` that is the outermost layer; all else goes uvicorn's own way.

    So does what a proxy has said of the scheme, since uvicorn knows which proxies to believe.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_proxied = type(self.app) is ProxyHeadersMiddleware
        self._service = _service_of(self.app)
        self._outermost: ReadyMiddleware | None = None
        self._outermost_lines = b""
        self._server_headers: list[Header] = []
        self._server_lines = b""

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        started = time.perf_counter()
        outermost = getattr(self._service, "middleware_stack", None)
        if app is self.app and isinstance(outermost, ReadyMiddleware):
            ready = None if self._is_told_scheme(cycle.scope) else outermost.find(cycle.scope)
            if ready is not None and self.server_lines(cycle.default_headers):
                lines = _lines_of(ready)
                if lines:
                    asked = _Asked(self, cycle, outermost, ready, lines, started)
                    self.loop.call_soon(asked.answer)
                    return
        self.start(cycle, app)

    def _is_told_scheme(self, scope: Scope) -> bool:
        return self._is_proxied and _SCHEME in dict(scope["headers"])

    def server_lines(self, headers: list[Header]) -> bytes:
        """What the server says in each head, anew each second; nothing where that is unusual."""
        if headers is not self._server_headers:
            usual = framed([*headers, _NO_LENGTH]) is not None
            self._server_headers, self._server_lines = headers, lines_of(headers) if usual else b""
        return self._server_lines

    def outermost_lines(self, outermost: ReadyMiddleware) -> bytes:
        """What the outermost layer says in each head."""
        if outermost is not self._outermost:
            self._outermost, self._outermost_lines = outermost, lines_of(outermost.headers)
        return self._outermost_lines

    def start(self, cycle: Any, app: Any) -> None:
        """Let a task of its own answer."""
        super()._start_asgi_task(cycle, app)


_LINES: WeakKeyDictionary[Ready, bytes] = WeakKeyDictionary()


def _lines_of(ready: Ready) -> bytes:
    """What all heads of a ready response have in common; nothing where that is unusual."""
    try:
        return _LINES[ready]
    except KeyError:
        lines, _body_bytes = framed(ready.response.headers) or (b"", 0)
        _LINES[ready] = lines
        return lines


class _Asked(NamedTuple):
    protocol: ReadyProtocol
    cycle: Any
    outermost: ReadyMiddleware
    ready: Ready
    lines: bytes
    started: float

    def answer(self) -> None:
        cycle = self.cycle
        if cycle.flow.write_paused or not cycle.keep_alive:
            self.protocol.start(cycle, self._send)
            return
        with self.outermost.hit(self.ready, self.started, cycle.scope) as hit:
            self._write(lines_of(hit.said()), lines_of(hit.own()))
        if not cycle.response_complete:
            # As uvicorn does with a response that failed, which was logged.
            cycle.transport.close()
        # As uvicorn does, lest the request and its connection hold each other.
        cycle.on_response = _nothing

    async def _send(self, scope: Scope, _receive: Receive, send: Send) -> None:
        await self.outermost.send(self.ready, self.started, scope, send)

    def _write(self, said: bytes, own: bytes) -> None:
        cycle, response, protocol = self.cycle, self.ready.response, self.protocol
        if cycle.disconnected:
            return
        first = STATUS_LINE[response.status]
        server = protocol.server_lines(cycle.default_headers)
        parts = server, self.lines, said, protocol.outermost_lines(self.outermost), own
        cycle.finish(b"%b%b\r\n\r\n%b" % (first, b"\r\n".join(parts), response.body))


def _service_of(app: Any) -> FastAPI | None:
    """The service, if nothing but uvicorn's own layer is around it, and sees what it answers."""
    if type(app) is ProxyHeadersMiddleware:
        app = app.app
    return app if isinstance(app, FastAPI) and type(app).__call__ is FastAPI.__call__ else None


def _nothing() -> None: ...
