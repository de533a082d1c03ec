"""HTTP/1.1 as uvicorn speaks it, with bounds on what comes before a request's body.

The heads of responses are put together in one go, and sent with their bodies. Uvicorn looks at each
header by itself, twice with an expression, and has the system send both one after the other: with a
dozen of them, that is a quarter of what the cheapest response costs.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from app.infra.http.headers import framed

MAX_HEAD_BYTES = 64 * 1024
# A larger body takes longer to copy than to send by itself.
_TOGETHER_BYTES = 64 * 1024
_TOO_LARGE = b"431 Request Header Fields Too Large"
_TOO_LATE = b"408 Request Timeout"
_REFUSAL = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHeadProtocol(HttpToolsProtocol):
    """Refuses a request line and headers of more than about 64 KiB, and clients that stop talking.

    httptools would collect a head for as long as it comes (RFC 6585, section 5). It arrives in
    pieces of up to 256 KiB, of which the last may pass the bound. Uvicorn waits for as long as it
    takes (RFC 9110, section 15.5.9): a few clients could hold all the connections there are.
    """

    head_timeout_seconds = 30.0
    """Of a new connection, or from the first byte of a request until its head is there."""
    body_timeout_seconds = 60.0
    """Between two pieces of a body, while the service wants to read it."""

    _head_bytes = 0
    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(self.head_timeout_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The scope of a request is there when it begins, and complete when its head is.
        if self.scope is not None and "method" in self.scope:
            self._head_bytes = 0
            if self._answers():
                self._wait_no_longer()
                if self.cycle.more_body:
                    self._wait(self.body_timeout_seconds)
                return
        else:
            self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_REFUSAL % _TOO_LARGE)
            self.transport.close()
        elif self._giving_up is None:
            # Also behind a response: what has come there has ended uvicorn's own waiting.
            self._wait(self.head_timeout_seconds)

    def _answers(self) -> bool:
        """Whether a request whose head is here has not been answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self, seconds: float) -> None:
        self._giving_up = self.loop.call_later(seconds, self._give_up)

    def _wait_no_longer(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        answers = self._answers()
        if answers and not (self.cycle.more_body and self._reads()):
            # It is the client that waits.
            self._wait(self.body_timeout_seconds)
        elif not self.transport.is_closing():
            # Who has said nothing is told nothing.
            if self._head_bytes or (answers and not self.cycle.response_started):
                self.transport.write(_REFUSAL % _TOO_LATE)
            self.transport.close()

    def _reads(self) -> bool:
        """Whether the service takes what the client sends, and has not kept it from sending."""
        return not (self.flow.read_paused or self.cycle.waiting_for_100_continue)


class Cycle(RequestResponseCycle):
    """A request and its response; whatever is unusual about a head is left to uvicorn.

    A head waits for the first of its body, so that the system is asked once for both; ASGI allows
    it (HTTP, response start).
    """

    _held: tuple[Any, bytes, int] | None = None

    async def send(self, message: Any) -> None:
        held, self._held = self._held, None
        if held is not None:
            await self._begin(*held, message)
        elif self.response_started or not self._hold(message):
            await super().send(message)

    async def send_500_response(self) -> None:
        """Say that the application has failed, unless it had begun to say something else."""
        held, self._held = self._held, None
        if held is None:
            await super().send_500_response()
        else:
            self.transport.write(held[1])
            self.transport.close()

    def _hold(self, message: Any) -> bool:
        """Keep the head of a response of known length, on a connection that stays; or leave it."""
        if self.disconnected or not self.keep_alive or self.access_log:
            return False
        if message["type"] != "http.response.start":
            return False
        given = message.get("headers")
        if not isinstance(given, list):  # an iterator can be looked at once, which uvicorn does
            return False
        head = framed(self.default_headers + given)
        if head is None:
            return False
        lines, body_bytes = head
        first = STATUS_LINE[message["status"]]
        self._held = message, b"%b%b\r\n\r\n" % (first, lines), body_bytes
        self.waiting_for_100_continue = False
        return True

    async def _begin(self, start: Any, head: bytes, body_bytes: int, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.keep_alive:
            # The server has begun to stop, which the head has to say.
            await super().send(start)
            await super().send(message)
            return
        body = message.get("body", b"")
        whole = len(body) == body_bytes <= _TOGETHER_BYTES and not message.get("more_body", False)
        if whole and message["type"] == "http.response.body" and self.scope["method"] != "HEAD":
            self.finish(head + body)
            return
        self.response_started = True
        self.chunked_encoding = False
        self.expected_content_length = body_bytes
        self.transport.write(head)
        await super().send(message)

    def finish(self, response: bytes) -> None:
        """Write all of a response, on a connection that stays."""
        self.response_started = True
        self.transport.write(response)
        self.response_complete = True
        self.message_event.set()
        self.on_response()


# Uvicorn offers no other seam.
httptools_impl.RequestResponseCycle = Cycle  # type: ignore[misc]
