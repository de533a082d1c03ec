"""Heads of responses, which are written as uvicorn would write them."""

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl

from app.infra.http.protocol import Cycle

Header = tuple[bytes, bytes]
UVICORNS: type[Any] = Cycle.__mro__[1]
BODY = b"seven 7"

usual = st.sampled_from(
    [
        (b"content-type", b"application/json"),
        (b"etag", b'"1"'),
        (b"x-request-id", b"abc"),
        (b"set-cookie", b"a=1; Path=/"),
        (b"x-empty", b""),
        (b"x-latin", "é\tand more".encode("latin-1")),
    ]
)
UNUSUAL = [
    (b"Content-Type", b"text/plain"),
    (b"connection", b"close"),
    (b"Connection", b"keep-alive, Close"),
    (b"transfer-encoding", b"chunked"),
    (b"content-length", b"8"),
    (b"content-length", b" 7"),
    (b"content-length", b"seven"),
    (b"x-split", b"a\r\nset-cookie: stolen=1"),
    (b"x-split", b"a\n"),
    (b"x-null", b"\x00"),
    (b"x-del", b"\x7f"),
    (b"x y", b"1"),
    (b"x:y", b"1"),
    (b"x\r\ny", b"1"),
]
LENGTH = (b"content-length", b"%d" % len(BODY))


@st.composite
def heads(draw: st.DrawFn) -> list[Header]:
    headers = draw(st.lists(usual, max_size=6)) + [LENGTH] * draw(st.sampled_from([1, 1, 0, 2]))
    return draw(st.permutations(headers + draw(st.lists(st.sampled_from(UNUSUAL), max_size=1))))


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def sent(
    kind: type[Any], status: int, headers: list[Header], *, method: str, keep_alive: bool
) -> dict[str, Any]:
    """What a client gets, and what becomes of the connection."""
    transport = Transport()
    cycle = kind(
        scope={"type": "http", "method": method},
        transport=transport,
        flow=FlowControl(transport),
        logger=logging.getLogger(__name__),
        access_logger=logging.getLogger(__name__),
        access_log=False,
        default_headers=[(b"date", b"Sat, 28 Nov 2026 15:59:28 GMT")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )
    error = ""
    try:
        await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
        await cycle.send({"type": "http.response.body", "body": BODY, "more_body": False})
    except (RuntimeError, ValueError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    return {
        "bytes": b"".join(transport.written),
        "closed": transport.closed,
        "complete": cycle.response_complete,
        "keep_alive": cycle.keep_alive,
        "error": error,
    }


class TestHead:
    @given(
        status=st.sampled_from([200, 201, 204, 304, 404, 500]),
        headers=heads(),
        method=st.sampled_from(["GET", "HEAD", "POST"]),
        keep_alive=st.booleans(),
    )
    async def test_is_the_one_that_uvicorn_writes(
        self, status: int, headers: list[Header], method: str, keep_alive: bool
    ) -> None:
        """Byte for byte, what it refuses included."""
        ours = await sent(Cycle, status, headers, method=method, keep_alive=keep_alive)
        assert ours == await sent(UVICORNS, status, headers, method=method, keep_alive=keep_alive)

    @pytest.mark.parametrize("unusual", UNUSUAL, ids=repr)
    async def test_what_is_unusual_is_left_to_uvicorn(self, unusual: Header) -> None:
        """Whatever would end a line, or has a say in how long the response is."""
        headers = [LENGTH, unusual]
        ours = await sent(Cycle, 200, headers, method="GET", keep_alive=True)
        assert ours == await sent(UVICORNS, 200, headers, method="GET", keep_alive=True)

    async def test_headers_that_can_be_looked_at_once(self) -> None:
        """They may come from an iterator (ASGI, `http.response.start`)."""
        headers: Any = iter([LENGTH, (b"Etag", b'"1"')])
        answer = await sent(Cycle, 200, headers, method="GET", keep_alive=True)
        assert b'\r\netag: "1"\r\n' in bytes(answer["bytes"])

    @pytest.mark.parametrize("more", [[], [(b"connection", b"close")]], ids=["usual", "closing"])
    async def test_is_written_without_a_look_at_each_header(
        self, monkeypatch: pytest.MonkeyPatch, more: list[Header]
    ) -> None:
        """That is what makes it cheap; uvicorn's own way is for what is unusual."""
        looked_at: list[object] = []

        class Expression:
            def search(self, name: bytes) -> None:
                looked_at.append(name)

        monkeypatch.setattr(httptools_impl, "HEADER_RE", Expression())
        headers = [LENGTH, (b"etag", b'"1"'), *more]
        answer = await sent(Cycle, 200, headers, method="GET", keep_alive=True)
        assert answer["complete"]
        assert bool(looked_at) == bool(more)
        assert httptools_impl.RequestResponseCycle is Cycle
