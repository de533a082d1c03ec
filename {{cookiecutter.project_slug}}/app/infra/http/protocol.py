"""HTTP/1.1 as uvicorn speaks it, with bounds on what clients send around bodies, and on silence.

The heads of responses are put together in one go, and sent with their bodies. Uvicorn looks at each
header by itself, twice with an expression, and has the system send both one after the other: with a
dozen of them, that is a quarter of what the cheapest response costs.
"""

import asyncio
import math
from collections.abc import Coroutine
from typing import Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from app.infra.http.headers import framed
from app.infra.http.parser import Parser

MAX_OVERHEAD_BYTES = 64 * 1024
"""Of headers, or trailers; they come in pieces of up to 256 KiB, of which the last may pass."""
_GRACE_SECONDS = 0.1
# A larger body takes longer to copy than to send by itself.
_TOGETHER_BYTES = 64 * 1024
_TOO_LARGE = b"431 Request Header Fields Too Large"
_TOO_LATE = b"408 Request Timeout"
_REFUSAL = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """Gives up on clients that ask without end, and on those that stop in the middle.

    httptools collects what is around bodies for as long as it comes: request lines and headers (RFC
    6585, section 5), and trailers. Uvicorn waits for as long as it takes, to read (RFC 9110,
    section 15.5.9) and to write. A few clients could hold all the memory and connections there are.
    """

    head_timeout_seconds = 30.0
    """Of a new connection, or from the first byte of a request until its head is there."""
    body_timeout_seconds = 60.0
    """Between two pieces of a body, while the service wants to read it."""
    write_timeout_seconds = 60.0
    """In which a client has to take some of an answer that is larger than what the system holds."""

    parser: Parser

    # Whether a request has begun that is not here as a whole.
    _asks = False
    # What of it the piece has brought that is being read: its beginning; the end of its head, some
    # of its body, or its own end.
    _begins = False
    _moves = False
    # Of pieces that have brought nothing but more of a head, or of trailers.
    _overhead_bytes = 0
    _is_refused = False
    _reading: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser = Parser(self, self._should_upgrade)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        self._is_written()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._begins = self._moves = False
        super().data_received(data)
        # Of a piece that has ended one request, nobody knows how much belongs to the next.
        self._overhead_bytes = 0 if self._moves else self._overhead_bytes + len(data)
        if self._overhead_bytes > MAX_OVERHEAD_BYTES:
            self._refuse(_TOO_LARGE)
        elif not self._asks and self._answers():
            self._wait_no_longer()
        elif self._begins or self._moves or self._reading is None:
            # Also behind a response: what has come there has ended uvicorn's own waiting.
            self._wait()

    def on_message_begin(self) -> None:
        self._asks = self._begins = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._moves = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moves = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.ignores_upgrade():
            return  # its body has yet to be read
        self._asks, self._moves = False, True
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_again(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._is_written()
        super().resume_writing()

    def _answers(self) -> bool:
        """Whether a request whose head is here has not been answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _sends_body(self) -> bool:
        # The scope of a request is there when it begins, and complete when its head is.
        return self._asks and "method" in self.scope

    def _wait(self) -> None:
        self._wait_no_longer()
        sends_body = self._sends_body()
        seconds = self.body_timeout_seconds if sends_body else self.head_timeout_seconds
        self._reading = self.loop.call_later(seconds, self._is_late)

    def _wait_no_longer(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _is_late(self) -> None:
        # If the process was what stood still, the rest lies there and is read first.
        self._reading = self.loop.call_later(_GRACE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self._sends_body() and self._answers() and not self._has_had_time():
            self._wait()
        else:
            self._refuse(_TOO_LATE)

    def _has_had_time(self) -> bool:
        """Whether the client was free to send for as long as it may take."""
        cycle: Any = self.cycle
        reads = not (self.flow.read_paused or cycle.waiting_for_100_continue)
        return reads and self.loop.time() - cycle.reads_since >= self.body_timeout_seconds

    def _refuse(self, why: bytes) -> None:
        self._is_refused = True
        self._wait_no_longer()
        sends_body = self._sends_body()
        if self._answers() and not sends_body:
            # The answer to the request before this one goes out, and is the last.
            self.cycle.keep_alive = False
        elif not self.transport.is_closing():
            # Who has asked nothing, or has an answer, is told nothing.
            if self._asks and not (sends_body and self.cycle.response_started):
                self.transport.write(_REFUSAL % why)
            self.transport.close()

    def _look_again(self, left_bytes: int) -> None:
        self._is_written()
        self._writing = self.loop.call_later(
            self.write_timeout_seconds, self._look_at_writing, left_bytes
        )

    def _look_at_writing(self, before_bytes: int) -> None:
        left_bytes = self.transport.get_write_buffer_size()
        if left_bytes < before_bytes:
            self._look_again(left_bytes)
        else:
            self.transport.abort()

    def _is_written(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None


class Cycle(RequestResponseCycle):
    """A request and its response; whatever is unusual about a head is left to uvicorn.

    A head waits for the first of its body, so that the system is asked once for both; ASGI allows
    it (HTTP, response start).
    """

    reads_since = -math.inf
    """By the event loop's clock; before that, the client had to wait."""

    _held: tuple[Any, bytes, int] | None = None

    def receive(self) -> Coroutine[Any, Any, ASGIReceiveEvent]:
        if self.flow.read_paused or self.waiting_for_100_continue:
            self.reads_since = asyncio.get_running_loop().time()
        return super().receive()

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
