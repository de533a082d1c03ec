"""Requests that wish for another protocol are requests nevertheless."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from app.infra.http.protocol import BoundedProtocol

PATIENCE_SECONDS = 60
INNER = "DELETE /victim HTTP/1.1\r\nHost: service\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n"
OF_LAST = ("GET /last", "")
WISHES = ["h2c", "websocket", "TLS/1.0, HTTP/1.1"]


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = asyncio.Event()

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.ended.set()

    def is_closing(self) -> bool:
        return self.ended.is_set()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def wishing(protocol: str, method: str, *headers: str) -> bytes:
    """The head of a request."""
    lines = f"{method} /first HTTP/1.1", "Host: service", "Connection: Upgrade, HTTP2-Settings"
    return "\r\n".join([*lines, f"Upgrade: {protocol}", *headers, "", ""]).encode()


async def asked(pieces: Sequence[bytes]) -> tuple[list[tuple[str, str]], bytes]:
    """What each request asks for, with its body, and what is written until the end."""
    arrived: list[tuple[str, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        arrived.append((f"{scope['method']} {scope['path']}", body.decode()))
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    config = Config(
        app, interface="asgi3", lifespan="off", ws="none", access_log=False, log_config=None
    )
    config.load()
    protocol = BoundedProtocol(config=config, server_state=ServerState(), app_state={})
    transport = Transport()
    protocol.connection_made(transport)
    async with asyncio.timeout(PATIENCE_SECONDS):
        for piece in pieces:
            if not transport.is_closing():
                protocol.data_received(piece)
            # Whoever does not wait for the rest has answered by then.
            for _ in range(5):
                await asyncio.sleep(0)
        await transport.ended.wait()
        protocol.connection_lost(None)
        await asyncio.gather(*protocol.tasks)
    return arrived, transport.written


@st.composite
def pieces(draw: st.DrawFn) -> tuple[list[bytes], list[tuple[str, str]]]:
    """Requests as they come over a network, and what arrives."""
    whole = b""
    arrive = []
    for body in draw(st.lists(st.text("ab\r\n", max_size=9), max_size=4)):
        method = draw(st.sampled_from(["GET", "POST", "PUT"]))
        length, encoded = f"Content-Length: {len(body)}", body
        if draw(st.booleans()):
            length = "Transfer-Encoding: chunked"
            encoded = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n" if body else "0\r\n\r\n"
        head = wishing(draw(st.sampled_from(WISHES)), method, length)
        if draw(st.booleans()):
            head = head.replace(b"Upgrade: ", b"Other: ")
        whole += head + encoded.encode()
        arrive.append((f"{method} /first", body))
    whole += LAST
    ends = sorted(draw(st.sets(st.integers(1, len(whole) - 1), max_size=6)))
    parts = [whole[a:b] for a, b in zip([0, *ends], [*ends, len(whole)], strict=True)]
    return parts, [*arrive, OF_LAST]


@pytest.mark.parametrize("wish", WISHES)
class TestBody:
    async def test_is_no_request(self, wish: str) -> None:
        """Not even if it reads like one, and comes later."""
        head = wishing(wish, "POST", f"Content-Length: {len(INNER)}")
        arrived, written = await asked([head, INNER.encode(), LAST])
        assert arrived == [("POST /first", INNER), OF_LAST]
        assert written.count(b"HTTP/1.1 200") == 2

    async def test_together(self, wish: str) -> None:
        """With its head, and the next request."""
        head = wishing(wish, "PATCH", "Content-Length: 3")
        arrived, _ = await asked([head + b"abc" + LAST])
        assert arrived == [("PATCH /first", "abc"), OF_LAST]

    async def test_in_chunks(self, wish: str) -> None:
        head = wishing(wish, "POST", "Transfer-Encoding: chunked")
        arrived, _ = await asked([head + b"3\r\nab", b"c\r\n2\r\nde\r\n0\r\n", b"\r\n" + LAST])
        assert arrived == [("POST /first", "abcde"), OF_LAST]

    async def test_none(self, wish: str) -> None:
        """The next request is heard, in the same piece or later, and may wish as well."""
        head = wishing(wish, "GET")
        arrived, _ = await asked([head * 2_000 + head[:9], head[9:] + LAST])
        assert arrived == [("GET /first", "")] * 2_001 + [OF_LAST]


async def test_framing_that_contradicts_itself() -> None:
    """Is refused as it is without a wish."""
    head = wishing("h2c", "POST", "Content-Length: 3", "Transfer-Encoding: chunked")
    _, written = await asked([head + b"abc"])
    assert written.startswith(b"HTTP/1.1 400")


@given(sent=pieces())
async def test_anyhow(sent: tuple[list[bytes], list[tuple[str, str]]]) -> None:
    """Wherever the pieces end, and whatever was wished, the same requests arrive."""
    in_pieces, expected = sent
    arrived, _ = await asked(in_pieces)
    assert arrived == expected
