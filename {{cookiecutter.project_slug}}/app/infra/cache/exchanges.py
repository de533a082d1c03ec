"""One request to a route whose responses are cached, and one answer of the application."""

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import msgspec
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import StartupError
from app.infra.cache.cache import Cache, Loaded
from app.infra.cache.entries import Entry
from app.infra.cache.policies import (
    ANYTHING,
    Header,
    Lifetime,
    ResponsePolicy,
    combined,
    demands,
    dressed,
    etag_of,
    lifetime,
)
from app.infra.http.compression import takes_gzip

_DIGEST_BYTES = 16
_CONDITIONS = frozenset({b"if-modified-since", b"if-none-match"})
# The answer is for everybody, however little of it each of them wants.
_NOT_PASSED_ON = frozenset(
    {*_CONDITIONS, b"accept-encoding", b"if-match", b"if-range", b"if-unmodified-since", b"range"}
)
WEIGHED = _CONDITIONS | {
    b"authorization",
    b"cache-control",
    b"content-length",
    b"pragma",
    b"transfer-encoding",
}
"""Headers that have a say in whether, or how, something kept is served."""


class Response(msgspec.Struct, array_like=True, frozen=True):
    """A response as it is kept, which came in one piece."""

    status: int
    headers: list[Header]
    body: bytes
    etag: bytes
    age_seconds: int
    """How old it was when it was made here."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Response).decode


class Unshared(Exception):
    """What the application answers is for one client; its argument says why, as a token."""


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of a route before it is asked for."""

    name: str
    context: RouteContext
    policy: ResponsePolicy
    prefix: str
    """What its paths begin with, up to the first parameter."""
    match: Callable[[str], re.Match[str] | None]
    shadows: tuple[Callable[[str], object], ...]
    """Of the routes before it, which are asked instead when they match."""
    varies: tuple[bytes, ...]
    """Headers whose values tell responses apart, besides Accept-Encoding."""
    looked_at: frozenset[bytes]


def compiled(
    routes: Sequence[BaseRoute], policies: Mapping[str, ResponsePolicy]
) -> tuple[Route, ...]:
    """The GET routes that have a policy, in the order in which they are asked.

    Raises:
        StartupError: not exactly one GET route has the name of a policy.
    """
    earlier: list[RouteContext] = []
    found: dict[str, Route] = {}
    for context in iter_route_contexts(routes):
        if getattr(context, "path_regex", None) is None:
            continue
        # A mounted application has all methods.
        if context.methods is not None and "GET" not in context.methods:
            continue
        name = context.name or ""
        if name in policies and context.methods is not None:
            if name in found:
                raise StartupError(f"Two GET routes are called {name!r}; give each its own name.")
            found[name] = _route(context, policies[name], earlier)
        earlier.append(context)
    for name in policies:
        if name not in found:
            raise StartupError(f"No GET route is called {name!r}; correct the name of its policy.")
    return tuple(found.values())


def _route(context: RouteContext, policy: ResponsePolicy, earlier: Sequence[RouteContext]) -> Route:
    prefix = _prefix(context)
    # Of a path that begins otherwise nothing has to be asked.
    shadows = [
        other.path_regex.match
        for other in earlier
        if _prefix(other).startswith(prefix) or prefix.startswith(_prefix(other))
    ]
    varies = policy.covered()[1:]
    return Route(
        name=context.name or "",
        context=context,
        policy=policy,
        prefix=prefix,
        match=context.path_regex.match,
        shadows=tuple(shadows),
        varies=varies,
        looked_at=WEIGHED.union({b"host"}, policy.covered()),
    )


def _prefix(context: RouteContext) -> str:
    return (context.path or "").partition("{")[0]


@lru_cache(maxsize=1_000)
def _takes_gzip(accept_encoding: bytes) -> bool:
    return takes_gzip(accept_encoding.decode("latin-1"))


class Asked:
    """A request for a route that has a policy."""

    __slots__ = (
        "authorized",
        "cache",
        "conditional",
        "fields",
        "gzip",
        "key",
        "left_alone",
        "parameters",
        "route",
        "scope",
        "wanted",
    )

    def __init__(self, cache: Cache, route: Route, match: re.Match[str], scope: Scope) -> None:
        self.cache = cache
        self.route = route
        self.scope = scope
        self.parameters = match
        looked_at = route.looked_at
        fields: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in looked_at:
                fields[name] = fields[name] + b", " + value if name in fields else value
        self.fields = fields
        self.authorized = b"authorization" in fields
        self.conditional = b"if-none-match" in fields or b"if-modified-since" in fields
        told = b"cache-control" in fields or b"pragma" in fields
        self.wanted = demands(fields) if told else ANYTHING
        self.gzip = _takes_gzip(fields.get(b"accept-encoding", b""))
        self.left_alone = False
        told_apart = (
            scope.get("scheme"),
            fields.get(b"host"),
            scope.get("root_path"),
            scope.get("raw_path") or scope["path"],
            scope.get("query_string"),
            self.gzip,
            *map(fields.get, route.varies),
        )
        digest = blake2b(_encode(told_apart), digest_size=_DIGEST_BYTES).hexdigest()
        self.key = cache.key(route.name, digest)

    def aside(self) -> bytes | None:
        """Why the cache has no part in this, as Cache-Status has it (RFC 9211, section 2.2)."""
        policy = self.route.policy
        if b"transfer-encoding" in self.fields or self.fields.get(b"content-length", b"0") != b"0":
            self.left_alone = True
            return b"fwd=bypass; detail=content"
        if policy.private:
            return b"fwd=bypass; detail=private"
        if self.authorized and not policy.authorized:
            self.left_alone = True
            return b"fwd=bypass; detail=authorization"
        return b"fwd=request; detail=no-store" if self.wanted.no_store else None

    def scope_for_all(self) -> Scope:
        """The request without what would make the answer that of this client alone."""
        headers = [header for header in self.scope["headers"] if header[0] not in _NOT_PASSED_ON]
        if self.gzip:
            headers.append((b"accept-encoding", b"gzip"))
        return {**self.scope, "headers": headers}

    def lifetime(self, start: Message) -> Lifetime | str:
        """How long the response that begins with `start` lasts, or why it is left as it is."""
        if self.left_alone:
            return "left-alone"
        if start.get("trailers"):
            return "trailers"
        fields = combined(start.get("headers", ()))
        found = lifetime(self.route.policy, start["status"], fields, self.cache.clock())
        # Asked last, of a path that the application has understood.
        return "no-tags" if isinstance(found, Lifetime) and self.tags() is None else found

    def response(self, start: Message, body: bytes, age_seconds: int) -> Response | None:
        """The whole response, dressed for whoever gets it; None if its body is not complete."""
        policy, headers = self.route.policy, [*start.get("headers", ())]
        fields = combined(headers)
        if fields.get(b"content-length", b"%d" % len(body)) != b"%d" % len(body):
            return None
        etag = etag_of(fields, body)
        headers = dressed(policy, headers, etag, self.tags() or (), authorized=self.authorized)
        return Response(start["status"], headers, body, etag, age_seconds)

    def tags(self) -> Collection[str] | None:
        tags = self.route.policy.tags(self.parameters.groupdict())
        if isinstance(tags, str):
            raise TypeError(f"{tags!r} is one tag; let the policy return a list of them.")
        return tags


class Kept:
    """An entry that is a response; raises `msgspec.MsgspecError` when it is something else."""

    __slots__ = ("age_seconds", "entry", "response", "ttl_seconds", "worn")

    def __init__(self, entry: Entry, now: float) -> None:
        self.entry = entry
        self.response = _decode(entry.payload)
        self.age_seconds = max(now - entry.created, 0.0) + self.response.age_seconds
        self.ttl_seconds = entry.fresh_until - now
        self.worn = now >= entry.refresh_at


class Run:
    """The application, answering a request whose answer may be for many.

    It does not see the client: neither does who leaves end it, nor who wants only a part. When the
    answer turns out to be for one client only, it waits until that one takes it over.
    """

    def __init__(self, app: ASGIApp, asked: Asked) -> None:
        """Begins at once."""
        self.scope = asked.scope_for_all()
        self.attended = False
        """Whether the client is there who would take it over."""
        self._asked = asked
        self._start: Message | None = None
        self._lifetime: Lifetime | str = "incomplete"
        self._requested = False
        self._client: tuple[Receive, Send] | None = None
        self._taken_over = asyncio.Event()
        self._verdict: asyncio.Future[Loaded | str] = asyncio.Future()
        self.task = asyncio.create_task(self._serve(app))

    async def loaded(self) -> Loaded:
        """The answer, as soon as it is whole; raises `Unshared` as soon as it is not for all."""
        try:
            await asyncio.wait([self._verdict])
        except asyncio.CancelledError:
            self.task.cancel()
            raise
        verdict = self._verdict.result()
        if isinstance(verdict, Loaded):
            return verdict
        if not self.attended:
            self.task.cancel()
        raise Unshared(verdict)

    async def take_over(self, receive: Receive, send: Send) -> None:
        """Let one client have an answer that is not for all; raises what the application does."""
        if self._start is not None:
            await send(self._start)
        self._client = receive, send
        self._taken_over.set()
        await self.task

    def leave(self) -> None:
        """Nobody will take it over any more, or it is done."""
        self.attended = False
        if self._verdict.done() and not isinstance(self._verdict.result(), Loaded):
            self.task.cancel()

    async def _serve(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self._receive, self._send)
        finally:
            self._decide("incomplete")

    async def _receive(self) -> Message:
        if not self._requested:
            self._requested = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._taken_over.wait()
        while True:
            message = await self._taker[0]()
            if message["type"] != "http.request":
                return message

    async def _send(self, message: Message) -> None:
        if not self._verdict.done() and self._take(message):
            return
        if isinstance(self._verdict.result(), Loaded):
            # There is nothing to say after the end.
            return
        await self._taken_over.wait()
        await self._taker[1](message)

    def _take(self, message: Message) -> bool:
        """Keep a message of an answer that may be for all, or decide that it is not."""
        if message["type"] == "http.response.start" and self._start is None:
            self._lifetime = self._asked.lifetime(message)
            if isinstance(self._lifetime, str):
                self._decide(self._lifetime)
                return False
            self._start = message
            return True
        if message["type"] != "http.response.body" or self._start is None:
            self._decide("extension")
        elif message.get("more_body", False):
            self._decide("stream")
        else:
            self._decide(self._whole(self._start, message.get("body", b"")))
        return isinstance(self._verdict.result(), Loaded)

    def _whole(self, start: Message, body: bytes) -> Loaded | str:
        assert isinstance(self._lifetime, Lifetime)  # noqa: S101  # or it would not be held
        if len(body) > self._asked.cache.settings.max_value_bytes:
            return "too-large"
        response = self._asked.response(start, body, self._lifetime.age_seconds)
        if response is None:
            return "incomplete"
        return Loaded(
            _encode(response),
            ttl_seconds=self._lifetime.ttl_seconds,
            stale_seconds=self._lifetime.stale_seconds,
            tags=self._asked.tags() or (),
        )

    def _decide(self, verdict: Loaded | str) -> None:
        if not self._verdict.done():
            self._verdict.set_result(verdict)

    @property
    def _taker(self) -> tuple[Receive, Send]:
        assert self._client is not None  # noqa: S101  # who took over
        return self._client
