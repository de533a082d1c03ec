"""A cache of whole responses, between the application and everybody who asks it for a page.

What is found is served before routing and dependencies. Whoever asks for the same page at the same
time waits for one answer of the application; if that is for one client only, the others ask for
their own.
"""

import asyncio
import re
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from functools import lru_cache

import msgspec
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.cache.cache import Cache, Loaded
from app.infra.cache.entries import Entry
from app.infra.cache.exchanges import Asked, Kept, Response, Route, Run, Unshared, compiled
from app.infra.cache.policies import Header, Lifetime, ResponsePolicy, not_modified, on_not_modified
from app.infra.http.routes import name_span

# What is asked for again and again is looked for once; these are few and short.
_KNOWN_PATHS = 1_000
_KNOWN_CHARACTERS = 200
_NOT_HERE = b"The cache has no response that fits, and the request wants no other"


class ResponseCache:
    """Middleware that serves GET from the `Cache` that it finds as `state["cache"]`.

    It belongs outside what changes bodies, and inside what turns HEAD into GET.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Sequence[BaseRoute],
        policies: Mapping[str, ResponsePolicy],
        name: str,
    ) -> None:
        """`policies` go by the name of their route; `name` is a token (RFC 9211, section 2).

        Raises:
            StartupError: not exactly one GET route has the name of a policy.
        """
        self._app = app
        self._name = name.encode()
        self._routes = compiled(routes, policies)
        self._known = lru_cache(maxsize=_KNOWN_PATHS)(self._match)
        # The event loop itself holds tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        cache: Cache | None = scope.get("state", {}).get("cache")
        found = None if cache is None else self._find(scope)
        if cache is None or found is None:
            return self._app(scope, receive, send)
        return self._serve(Asked(cache, *found, scope), receive, send)

    async def _serve(self, asked: Asked, receive: Receive, send: Send) -> None:
        aside = asked.aside()
        kept = None
        if aside is None and not asked.wanted.no_cache:
            kept = await self._look(asked)
            if kept is not None and asked.wanted.accept(kept.age_seconds, kept.ttl_seconds):
                await self._hit(asked, kept, send)
                return
        if asked.wanted.only_if_cached:
            await self._refuse(send)
        elif aside is not None:
            await self._pass(asked, aside, receive, send)
        else:
            await self._share(asked, kept, receive, send)

    def _find(self, scope: Scope) -> tuple[Route, re.Match[str]] | None:
        """The route that a request is for, if it has a policy."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        path: str = scope["path"]
        if root_path := scope.get("root_path"):
            path = path.removeprefix(root_path)
        found = (self._known if len(path) <= _KNOWN_CHARACTERS else self._match)(path)
        if found is not None:
            # For the log and the trace, in case that the application is not asked.
            scope["route"] = found[0].context
            name_span(scope, found[0].context.path_format)
        return found

    def _match(self, path: str) -> tuple[Route, re.Match[str]] | None:
        for route in self._routes:
            if path.startswith(route.prefix) and (match := route.match(path)):
                return None if any(shadow(path) for shadow in route.shadows) else (route, match)
        return None

    async def _look(self, asked: Asked) -> Kept | None:
        entry = await asked.cache.find(asked.route.name, asked.key)
        if entry is None:
            return None
        try:
            return Kept(entry, asked.cache.clock())
        except msgspec.MsgspecError:
            # Something else lies there, under a key that cannot be anybody else's.
            await asked.cache.forget(keys=[asked.key])
            return None

    async def _hit(self, asked: Asked, kept: Kept, send: Send) -> None:
        figures = asked.cache.figures[asked.route.name]
        if kept.ttl_seconds > 0:
            figures.hits += 1
        else:
            figures.stale_hits += 1
        if kept.worn:

            async def load() -> Loaded:
                return await self._run(asked).loaded()

            asked.cache.refresh(asked.route.name, asked.key, load)
        status = b"hit; ttl=%d" % kept.ttl_seconds
        await self._answer(asked, kept.response, kept.age_seconds, status, send)

    async def _share(self, asked: Asked, kept: Kept | None, receive: Receive, send: Send) -> None:
        """Answer with what the application says, to this client or to one who asked before."""
        cache, name = asked.cache, asked.route.name
        fresh = kept is not None and kept.ttl_seconds > 0
        anew = fresh or asked.wanted.no_cache
        status = b"fwd=request" if anew else b"fwd=uri-miss" if kept is None else b"fwd=stale"
        cache.figures[name].misses += 1
        runs: list[Run] = []
        is_here = True

        async def load() -> Loaded:
            runs.append(run := self._run(asked))
            # A load that others wait for may begin when the client has left.
            run.attended = is_here
            return await run.loaded()

        obtain = cache.reload if anew else cache.join
        try:
            entry = await _while_connected(receive, obtain(name, asked.key, load))
            if entry is None:
                return
            kept = Kept(entry, cache.clock())
            if not runs:
                status += b"; collapsed"
            elif entry.generation:
                # Without one there was no lock, and nothing was kept.
                status += b"; stored"
            age_seconds = kept.response.age_seconds or None if runs else kept.age_seconds
            await self._answer(asked, kept.response, age_seconds, status, send)
            for run in runs:
                await run.task
        except Unshared as unshared:
            status += b"; detail=" + str(unshared).encode()
            if not runs:
                await self._pass(asked, status, receive, send)
            for run in runs:
                await run.take_over(receive, self._with_status(status, send))
        finally:
            is_here = False
            for run in runs:
                run.leave()
                asked.scope.update({**run.scope, "headers": asked.scope["headers"]})

    def _run(self, asked: Asked) -> Run:
        run = Run(self._app, asked)
        self._tasks.add(run.task)
        run.task.add_done_callback(self._ended)
        return run

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Who asked was told, or has left.
            task.exception()

    async def _pass(self, asked: Asked, status: bytes, receive: Receive, send: Send) -> None:
        """Let the application answer this one client; what comes in one piece can be validated."""
        held: tuple[Message, Lifetime] | None = None
        send_on = self._with_status(status, send)

        async def send_dressed(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                lifetime = asked.lifetime(message)
                if not isinstance(lifetime, str):
                    held = message, lifetime
                    return
            if held is not None:
                (start, lifetime), held = held, None
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    body = message.get("body", b"")
                    response = asked.response(start, body, lifetime.age_seconds)
                    if response is not None:
                        await self._answer(asked, response, None, status, send)
                        return
                await send_on(start)
            await send_on(message)

        await self._app(asked.scope, receive, send_dressed)

    async def _answer(
        self,
        asked: Asked,
        response: Response,
        age_seconds: float | None,
        status: bytes,
        send: Send,
    ) -> None:
        """Send a whole response, or that the client has it already; an age if it has one."""
        code, headers, body = response.status, response.headers, response.body
        if asked.conditional and not_modified(asked.fields, code, headers, response.etag):
            code, headers, body = 304, on_not_modified(headers), b""
        headers = [*headers, *said_of(self._name, status, age_seconds)]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _refuse(self, send: Send) -> None:
        """Say that nothing is kept (RFC 9111, section 5.2.1.7); others make a problem of it."""
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(_NOT_HERE)),
            (b"cache-status", b"%s; detail=only-if-cached" % self._name),
        ]
        await send({"type": "http.response.start", "status": 504, "headers": headers})
        await send({"type": "http.response.body", "body": _NOT_HERE})

    def _with_status(self, status: bytes, send: Send) -> Send:
        header = (b"cache-status", b"%s; %s" % (self._name, status))

        async def send_with_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        return send_with_status


def said_of(name: bytes, status: bytes, age_seconds: float | None) -> list[Header]:
    """What the cache called `name` says of a response (RFC 9211), and its age if it has one."""
    headers = [(b"cache-status", b"%s; %s" % (name, status))]
    if age_seconds is not None:
        headers.append((b"age", b"%d" % age_seconds))
    return headers


async def _while_connected(
    receive: Receive, waiting: Coroutine[object, object, Entry]
) -> Entry | None:
    """What `waiting` brings; None when the client leaves first, who is waited for no longer."""
    task = asyncio.create_task(waiting)
    leaving = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait([task, leaving], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else leaving.result()
    finally:
        for ending in (task, leaving):
            ending.cancel()
        await asyncio.wait([task, leaving])


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
