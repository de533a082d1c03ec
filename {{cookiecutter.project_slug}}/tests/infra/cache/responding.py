"""An application behind the cache of responses, and clients that ask it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.cache import Cache
from app.infra.cache.memory import Memory, MemorySettings
from app.infra.cache.policies import ResponsePolicy
from app.infra.cache.responses import ResponseCache
from tests.caches import PATIENCE_SECONDS, Clock, until
from tests.messages import body_of, headers_of, http_scope


@dataclass
class Reply:
    """What one client got."""

    sent: list[Message]

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return headers_of(self.sent)

    @property
    def body(self) -> bytes:
        return body_of(self.sent)

    @property
    def told(self) -> str:
        """Cache-Status without the name of the cache."""
        return self.headers["cache-status"].removeprefix("edge; ")


@dataclass
class Client:
    """Who asks, and may leave before the answer comes."""

    sent: list[Message] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    requested: bool = False

    async def receive(self) -> Message:
        if not self.requested:
            self.requested = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


@dataclass
class Answer:
    """What the application says, in one piece."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """By default, the number of the call."""


class Service:
    """The cache over an application that answers `answer`, or does what `handle` does."""

    def __init__(
        self,
        policy: ResponsePolicy,
        answer: Answer | None = None,
        *,
        handle: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None,
        layer: Callable[[ASGIApp], ASGIApp] = lambda app: app,
        path: str = "/page/{page}",
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        self.answer = answer or Answer()
        self.calls = 0
        self.seen: list[Scope] = []
        self._handle = handle or self._reply
        chosen = MemorySettings(**{"ttl_jitter": 0, "refresh_ahead": 0, **settings})
        self.cache = Cache(Memory(chosen, self.clock), chosen, clock=self.clock)
        routes = [Route(path, endpoint=_never, name="page")]
        self.app = ResponseCache(
            layer(self._serve), routes=routes, policies={"page": policy}, name="edge"
        )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        self.seen.append(scope)
        await self._handle(scope, receive, send)

    async def _reply(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in self.answer.headers.items()]
        status = self.answer.status
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"%d" % self.calls if self.answer.body is None else self.answer.body
        await send({"type": "http.response.body", "body": body})

    def scope(self, path: str = "/page/1", **headers: str) -> Scope:
        """A request; underscores in the names of headers stand for hyphens."""
        path, _, query = path.partition("?")
        named = [(name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()]
        scope = http_scope(unquote(path), headers=named)
        scope["raw_path"] = path.encode()
        if "host" in headers:
            scope["headers"] = named
        return {**scope, "query_string": query.encode(), "state": {"cache": self.cache}}

    async def ask(self, scope: Scope, client: Client | None = None) -> Reply:
        client = client or Client()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.app(scope, client.receive, client.send)
        return Reply(client.sent)

    async def get(self, path: str = "/page/1", **headers: str) -> Reply:
        return await self.ask(self.scope(path, **headers))

    async def settle(self) -> None:
        """Until nothing is done in the background any more."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while tasks := [*self.cache._tasks, *self.app._tasks]:
                await asyncio.wait(tasks)


class Slow:
    """An application that answers when it is let, each time in the next of several ways."""

    def __init__(self, *answers: Sequence[Message | Exception]) -> None:
        self._answers = answers
        self._calls = 0
        self.reached = asyncio.Event()
        self.let = asyncio.Event()
        self.ended: list[str] = []

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        messages = self._answers[min(self._calls, len(self._answers) - 1)]
        self._calls += 1
        number = self._calls
        self.reached.set()
        try:
            await self.let.wait()
            for message in messages:
                if isinstance(message, Exception):
                    raise message
                await send({key: _numbered(value, number) for key, value in message.items()})
            self.ended.append("well")
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise


async def asking(service: Service, slow: Slow, count: int) -> list[asyncio.Task[Reply]]:
    """`count` requests for the same, all of which wait; the first leads."""
    first = asyncio.create_task(service.get())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await slow.reached.wait()
    others = [asyncio.create_task(service.get()) for _ in range(count - 1)]
    await until(lambda: waiting(service) == count)
    return [first, *others]


def waiting(service: Service) -> int:
    return sum(flight.waiters for flight in service.cache._flights.values())


async def done(tasks: Sequence[asyncio.Task[Reply]]) -> list[Reply | BaseException]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.gather(*tasks, return_exceptions=True)


def _numbered(value: object, number: int) -> object:
    """`N` in a body or in a path, replaced."""
    if isinstance(value, bytes):
        return value.replace(b"N", b"%d" % number)
    return value.replace("N", str(number)) if isinstance(value, str) else value


def start(status: int = 200, **headers: str) -> Message:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": named}


def body(content: bytes = b"N", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


WHOLE = [start(), body()]
STREAM = [start(), body(b"N1,", more=True), body(b"N2", more=False)]


async def _never(_request: object) -> Any:
    raise AssertionError("the test has an application of its own")
