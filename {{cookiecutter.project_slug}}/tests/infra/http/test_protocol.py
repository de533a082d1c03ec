"""Heads of responses, which are written as uvicorn would write them."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
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


def cycle_of(
    kind: type[Any], transport: Transport, *, method: str = "GET", keep_alive: bool = True
) -> Any:
    """A request that has just come, to be answered."""
    return kind(
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


async def sent(
    kind: type[Any],
    status: int,
    headers: list[Header],
    *,
    method: str,
    keep_alive: bool,
    pieces: Sequence[bytes] = (BODY,),
) -> dict[str, Any]:
    """What a client gets, and what becomes of the connection."""
    transport = Transport()
    cycle = cycle_of(kind, transport, method=method, keep_alive=keep_alive)
    ended: list[bool] = []
    cycle.on_response = lambda: ended.append(True)
    error = ""
    try:
        await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
        for number, piece in enumerate(pieces, 1):
            more = number < len(pieces)
            await cycle.send({"type": "http.response.body", "body": piece, "more_body": more})
    except (RuntimeError, ValueError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    return {
        "bytes": b"".join(transport.written),
        "closed": transport.closed,
        "complete": cycle.response_complete,
        "ended": ended,
        "keep_alive": cycle.keep_alive,
        "error": error,
        "received": (await cycle.receive())["type"] if cycle.response_complete else None,
    }


class TestHead:
    @given(
        status=st.sampled_from([200, 201, 204, 304, 404, 500]),
        headers=heads(),
        method=st.sampled_from(["GET", "HEAD", "POST"]),
        keep_alive=st.booleans(),
        pieces=st.lists(st.sampled_from([BODY, b"seven", b" 7", b""]), min_size=1, max_size=3),
    )
    @example(200, [LENGTH], "HEAD", True, [BODY])
    @example(200, [LENGTH], "GET", True, [BODY, b""])
    async def test_is_the_one_that_uvicorn_writes(
        self,
        status: int,
        headers: list[Header],
        method: str,
        keep_alive: bool,
        pieces: list[bytes],
    ) -> None:
        """Byte for byte, what it refuses included, whatever pieces the body comes in."""
        ours, uvicorns = [
            await sent(kind, status, headers, method=method, keep_alive=keep_alive, pieces=pieces)
            for kind in (Cycle, UVICORNS)
        ]
        assert ours == uvicorns

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


START = {"type": "http.response.start", "status": 200, "headers": [LENGTH]}


class TestBody:
    @pytest.mark.parametrize(("size", "writes"), [(7, 1), (64 * 1024, 1), (64 * 1024 + 1, 2)])
    async def test_goes_with_the_head(self, size: int, writes: int) -> None:
        """In one call of the system, unless it takes longer to copy than to send."""
        transport = Transport()
        cycle = cycle_of(Cycle, transport)
        head = {**START, "headers": [(b"content-length", b"%d" % size)]}
        await cycle.send(head)
        await cycle.send({"type": "http.response.body", "body": b"x" * size})
        assert len(transport.written) == writes
        assert cycle.response_complete

    async def test_of_many_pieces_does_not_wait(self) -> None:
        """A client sees the first when it is there."""
        transport = Transport()
        cycle = cycle_of(Cycle, transport)
        await cycle.send(START)
        await cycle.send({"type": "http.response.body", "body": b"seven", "more_body": True})
        assert b"".join(transport.written).endswith(b"\r\n\r\nseven")

    async def test_ends_what_waits_for_the_client(self) -> None:
        """Who listens for a client that leaves is told when there is nothing left to leave."""
        cycle = cycle_of(Cycle, Transport())
        leaving = asyncio.create_task(cycle.receive())
        await asyncio.sleep(0)
        await cycle.send(START)
        await cycle.send({"type": "http.response.body", "body": BODY})
        assert (await leaving)["type"] == "http.disconnect"

    @pytest.mark.parametrize("ending", ["raises", "returns", "says more"])
    async def test_that_never_comes(self, ending: str) -> None:
        """What was begun is sent, and the connection ends, as with uvicorn."""
        seen: list[object] = []
        for kind in (Cycle, UVICORNS):
            transport = Transport()
            cycle = cycle_of(kind, transport)

            async def app(_scope: Any, _receive: Any, send: Any) -> None:
                await send(START)
                if ending == "raises":
                    raise ZeroDivisionError
                if ending == "says more":
                    await send({"type": "http.response.trailers"})

            await cycle.run_asgi(app)
            seen.append((b"".join(transport.written), transport.closed, cycle.response_complete))
        assert seen[0] == seen[1]

    async def test_of_a_server_that_stops(self) -> None:
        """Between head and body: the head says so, and the connection ends."""
        transport = Transport()
        cycle = cycle_of(Cycle, transport)
        await cycle.send(START)
        cycle.keep_alive = False
        await cycle.send({"type": "http.response.body", "body": BODY})
        assert b"\r\nconnection: close\r\n" in b"".join(transport.written)
        assert b"".join(transport.written).endswith(BODY)
        assert transport.closed

    async def test_waits_where_the_client_is_slow(self) -> None:
        """For as long as the connection takes no more; whoever has left gets nothing."""
        transport = Transport()
        cycle = cycle_of(Cycle, transport)
        await cycle.send(START)
        cycle.flow.pause_writing()
        sending = asyncio.create_task(cycle.send({"type": "http.response.body", "body": BODY}))
        await asyncio.sleep(0)
        assert not transport.written
        cycle.disconnected = True
        cycle.flow.resume_writing()
        await sending
        assert not transport.written
