"""How long a client may take to ask and to listen, and how large a head may be."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from app.infra.http.protocol import MAX_OVERHEAD_BYTES, BoundedProtocol

PATIENCE_SECONDS = 60
UPLOAD = b"POST / HTTP/1.1\r\nHost: service\r\nContent-Length: 1000000\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: service\r\n\r\n"
BEGUN = REQUEST[:20]


class Impatient(BoundedProtocol):
    head_timeout_seconds = 0.05
    body_timeout_seconds = 0.05
    write_timeout_seconds = 0.05


class Server:
    """Reads and answers when it is told to."""

    def __init__(self, *, reads: bool = False, begins: bool = False, floods: bool = False) -> None:
        """`reads` a request to its end first; `begins` to answer before that; never ends to."""
        self.floods = floods
        self.has_flooded = False
        self.reads = reads
        self.begins = begins
        self.received: list[str] = []
        self.connections: list[BoundedProtocol] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def app(self, _scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200}
        if self.begins or self.floods:
            await send(start)
            await send({"type": "http.response.body", "body": b"ok", "more_body": True})
        while self.floods and not self.has_flooded:
            await send({"type": "http.response.body", "body": b"a" * 100_000, "more_body": True})
            self.has_flooded = self.connections[0].transport.is_closing()
        more = self.reads
        while more:
            message = await receive()
            self.received.append(message["type"])
            more = message.get("more_body", False)
        await self.answers.wait()
        await send({**start, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def protocol(self, kind: type[BoundedProtocol]) -> BoundedProtocol:
        config = Config(
            self.app, interface="asgi3", lifespan="off", access_log=False, log_config=None
        )
        config.load()
        made = kind(config=config, server_state=ServerState(), app_state={})
        self.connections.append(made)
        return made


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answered(self) -> None:
        """Takes one answer from what comes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.reader.readuntil(b"\r\n\r\nok")

    async def rest(self) -> bytes:
        """All that comes until the connection ends."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.read()


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not there():  # noqa: ASYNC110  # what a server does sets no event
            await asyncio.sleep(0)


@asynccontextmanager
async def connected(
    server: Server, kind: type[BoundedProtocol] = Impatient
) -> AsyncIterator[Client]:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: server.protocol(kind), "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            # The system accepts before the server does.
            await until(lambda: bool(server.connections))
            yield Client(reader, writer)
        finally:
            writer.close()


class TestHead:
    async def test_of_who_says_nothing(self) -> None:
        """The connection ends, without a word that nobody has asked for."""
        async with connected(Server()) as client:
            assert await client.rest() == b""

    @pytest.mark.parametrize("before", [b"", REQUEST], ids=["first", "second"])
    async def test_of_a_head_that_stops(self, before: bytes) -> None:
        """It is refused, on a new connection and on one that was good before."""
        async with connected(Server()) as client:
            client.writer.write(before)
            if before:
                await client.answered()
            client.writer.write(BEGUN)
            said = await client.rest()
            assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert b"\r\nconnection: close\r\n" in said

    async def test_begins_with_the_first_byte(self) -> None:
        """Those that trickle in after it do not put off the end."""
        server = Server()
        async with connected(server, BoundedProtocol) as client:
            timers = []
            for received in (3, 6):
                client.writer.write(b"GET")
                await until(lambda: server.connections[0]._overhead_bytes == received)  # noqa: B023
                timers.append(server.connections[0]._reading)
            assert timers[0] is timers[1] is not None

    async def test_of_what_comes_behind_a_response(self) -> None:
        """It is no request, and has ended uvicorn's own waiting."""
        async with connected(Server()) as client:
            client.writer.write(REQUEST)
            await client.answered()
            client.writer.write(b"\r\n")
            assert await client.rest() == b""

    async def test_is_not_that_of_an_answer(self) -> None:
        """However long one takes, it goes out, and is the last."""
        server = Server()
        server.answers.clear()
        async with connected(server) as client:
            client.writer.write(REQUEST + BEGUN)
            await until(lambda: server.connections[0]._is_refused)
            [connection] = server.connections
            answering = connection.cycle
            connection.data_received(REQUEST[len(BEGUN) :])
            assert connection.cycle is answering
            server.answers.set()
            assert b"\r\nconnection: close\r\n" in (said := await client.rest())
            assert said.startswith(b"HTTP/1.1 200 ")
            assert said.endswith(b"\r\n\r\nok")

    async def test_is_that_of_each_request(self) -> None:
        """Though there was never a moment without half of one."""
        server = Server()
        async with connected(server, BoundedProtocol) as client:
            timers = []
            for piece in (REQUEST + BEGUN, REQUEST[len(BEGUN) :] + BEGUN):
                client.writer.write(piece)
                await client.answered()
                timers.append(server.connections[0]._reading)
            assert None not in timers
            assert timers[0] is not timers[1]

    async def test_is_not_that_of_a_process_which_stood_still(self) -> None:
        """What has come meanwhile is read before the client is given up."""
        server = Server()
        async with connected(server, BoundedProtocol) as client:
            client.writer.write(BEGUN)
            await until(lambda: server.connections[0]._asks)
            server.connections[0]._is_late()
            client.writer.write(REQUEST[len(BEGUN) :])
            await client.answered()
            assert server.connections[0]._reading is None

    @pytest.mark.parametrize("requests", [1, 2])
    async def test_is_over_when_the_head_is_there(self, requests: int) -> None:
        """Between requests it is uvicorn that waits."""
        server = Server()
        async with connected(server, BoundedProtocol) as client:
            for _ in range(requests):
                client.writer.write(REQUEST)
                await client.answered()
                assert server.connections[0]._reading is None

    async def test_ends_with_the_connection(self) -> None:
        """No timer holds what is gone."""
        server = Server()
        async with connected(server, BoundedProtocol) as client:
            client.writer.write(b"no HTTP\r\n\r\n")
            assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        await until(lambda: server.connections[0]._reading is None)


class TestBody:
    async def test_that_stops(self) -> None:
        """It is refused, and the service is told that the client has left."""
        server = Server(reads=True)
        async with connected(server) as client:
            client.writer.write(UPLOAD)
            assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
            await until(lambda: server.received[-1:] == ["http.disconnect"])

    async def test_that_stops_behind_the_first_of_an_answer(self) -> None:
        """What was begun is not continued with something else."""
        async with connected(Server(reads=True, begins=True)) as client:
            client.writer.write(UPLOAD)
            said = await client.rest()
            assert said.startswith(b"HTTP/1.1 200 ")
            assert b"408" not in said

    async def test_each_piece_puts_off_the_end(self) -> None:
        server = Server(reads=True)
        async with connected(server, BoundedProtocol) as client:
            client.writer.write(UPLOAD)
            await until(lambda: server.connections[0]._answers())
            first = server.connections[0]._reading
            client.writer.write(b"a piece")
            await until(lambda: bool(server.received))
            second = server.connections[0]._reading
            assert first is not None
            assert first.cancelled()
            assert second is not None
            assert not second.cancelled()

    @pytest.mark.parametrize(
        "request_",
        [UPLOAD + b"a" * 200_000, UPLOAD.replace(b"Host", b"Expect: 100-continue\r\nHost")],
        ids=["is not read", "has not been asked for"],
    )
    async def test_for_which_the_service_is_not_ready(self, request_: bytes) -> None:
        """It is the client that waits, for however long it takes."""
        server = Server()
        server.answers.clear()
        async with connected(server) as client:
            client.writer.write(request_)
            await until(lambda: server.connections[0]._answers())
            [connection] = server.connections
            for _ in range(2):
                before = connection._reading
                await until(lambda: connection._reading is not before)  # noqa: B023
            assert not connection.transport.is_closing()
            server.answers.set()
            await client.answered()

    async def test_that_was_just_asked_for(self) -> None:
        """The time begins when the service does."""
        server = Server(reads=True)
        expecting = UPLOAD.replace(b"Host", b"Expect: 100-continue\r\nHost")
        async with connected(server, BoundedProtocol) as client:
            client.writer.write(expecting)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await client.reader.readuntil(b"100 Continue\r\n\r\n")
            [connection] = server.connections
            connection._give_up()
            assert not connection.transport.is_closing()

    async def test_of_who_has_an_answer_already(self) -> None:
        """The connection ends without another."""
        async with connected(Server()) as client:
            client.writer.write(UPLOAD)
            await client.answered()
            assert await client.rest() == b""

    async def test_that_is_there(self) -> None:
        """Nobody waits for anything but the answer."""
        server = Server()
        server.answers.clear()
        async with connected(server, BoundedProtocol) as client:
            client.writer.write(UPLOAD.replace(b"1000000", b"4") + b"body")
            await until(lambda: server.connections[0]._answers())
            assert server.connections[0]._reading is None


class TestAnswer:
    async def test_that_nobody_takes(self) -> None:
        """The connection ends, and so does what was writing to it."""
        server = Server(floods=True)
        async with connected(server) as client:
            client.writer.write(REQUEST)
            await until(lambda: server.has_flooded)
            with suppress(ConnectionError):
                await client.rest()

    async def test_that_is_taken_slowly(self) -> None:
        """Some of it in each period is enough."""
        left = [300, 200, 200]
        connection = Server().protocol(BoundedProtocol)
        transport = Buffer(left)
        connection.connection_made(transport)
        connection.pause_writing()
        for ended in (False, True):
            timer = connection._writing
            assert timer is not None
            timer._run()
            assert transport.is_closing() is ended
        connection.connection_lost(None)
        assert connection._writing is None

    async def test_that_is_taken_in_time(self) -> None:
        """Nothing waits for it any more."""
        connection = Server().protocol(BoundedProtocol)
        connection.connection_made(Buffer([300]))
        connection.pause_writing()
        connection.resume_writing()
        assert connection._writing is None
        connection.connection_lost(None)


class Buffer(asyncio.Transport):
    """Of which less is `left` each time."""

    def __init__(self, left: list[int]) -> None:
        super().__init__()
        self.left = left
        self.ended = False

    def get_write_buffer_size(self) -> int:
        return self.left.pop(0)

    def abort(self) -> None:
        self.ended = True

    close = abort

    def is_closing(self) -> bool:
        return self.ended


class TestSize:
    @pytest.mark.parametrize(
        ("endless", "reads"),
        [
            (BEGUN, False),
            (
                UPLOAD.replace(b"Content-Length: 1000000", b"Transfer-Encoding: chunked")
                + b"1\r\na\r\n0\r\nTrailer: ",
                True,
            ),
        ],
        ids=["head", "trailers"],
    )
    async def test_is_bounded(self, endless: bytes, reads: bool) -> None:
        """Of what would be collected for as long as it comes."""
        server = Server(reads=reads)
        async with connected(server, BoundedProtocol) as client:
            client.writer.write(endless)
            await until(lambda: server.connections[0]._asks)
            if reads:
                await until(lambda: bool(server.received))
            client.writer.write(b"a" * (MAX_OVERHEAD_BYTES + 1))
            assert (await client.rest()).startswith(b"HTTP/1.1 431 ")

    async def test_of_nothing(self) -> None:
        async with connected(Server(), BoundedProtocol) as client:
            client.writer.write(b"\r\n" * (MAX_OVERHEAD_BYTES // 2 + 1))
            assert await client.rest() == b""

    async def test_is_that_of_each_request(self) -> None:
        """Many of them may come in one piece, and bodies."""
        many = MAX_OVERHEAD_BYTES // len(REQUEST) + 1
        upload = UPLOAD.replace(b"1000000", b"100000") + b"a" * 100_000
        async with connected(Server(reads=True), BoundedProtocol) as client:
            client.writer.write(REQUEST * many + upload + BEGUN)
            for _ in range(many + 1):
                await client.answered()
            client.writer.write(REQUEST[len(BEGUN) :])
            await client.answered()
