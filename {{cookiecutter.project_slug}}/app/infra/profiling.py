"""Where the time of a request goes, function by function: by command, or of a live one.

What is measured is this thread, while the request itself has it: other requests that are served
meanwhile do not show, and what threads and servers do for it shows as waiting.
"""

import asyncio
import secrets
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
from fastapi import FastAPI
from pydantic import BaseModel, Field, SecretStr
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from pyinstrument import Profiler

TOKEN_HEADER = b"x-profile"
# What is kept would be told in place of what it takes to make it.
_ANEW = (b"cache-control", b"no-cache")
_CACHE_HEADERS = frozenset({b"cache-control", b"pragma"})
_INTERVAL_SECONDS = 0.0001


class ProfilingSettings(BaseModel):
    token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """A request that carries it as `X-Profile` is answered with its own profile, as HTML."""


class ProfilingMiddleware:
    """Answers who has the token with the profile of their request, in place of its response.

    The request is served in full, with all that it changes, and past the cache of responses. A
    process profiles one at a time. Who has not the token is served as if there were none.
    """

    def __init__(self, app: ASGIApp, token: SecretStr) -> None:
        self._app = app
        self._token = token.get_secret_value().encode()
        self._busy = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The answer to HEAD could not tell anything.
        if scope["type"] != "http" or scope["method"] == "HEAD" or not self._is_asked(scope):
            await self._app(scope, receive, send)
            return
        if self._busy:
            busy = PlainTextResponse("Another request is being profiled; try again later", 409)
            await busy(scope, receive, send)
            return
        self._busy = True
        try:
            page, error = await self._profile(scope, receive)
        finally:
            self._busy = False
        await page(scope, receive, send)
        if error is not None:
            raise error

    def _is_asked(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == TOKEN_HEADER]
        return any(secrets.compare_digest(value, self._token) for value in given)

    async def _profile(
        self, scope: Scope, receive: Receive
    ) -> tuple[HTMLResponse, Exception | None]:
        left_out = {TOKEN_HEADER, *_CACHE_HEADERS}
        # In place: what is found out about the request is kept in its scope.
        scope["headers"] = [*(h for h in scope["headers"] if h[0] not in left_out), _ANEW]
        status = 0
        error = None

        async def take(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)

        profiler = _new_profiler()
        profiler.start(target_description=f"{scope['method']} {scope['path']}")
        try:
            await self._app(scope, receive, take)
        except Exception as failure:  # noqa: BLE001  # raised again when the profile was told
            error = failure
        finally:
            profiler.stop()
        text = await asyncio.to_thread(profiler.output_html)
        headers = {
            "Cache-Control": "no-store",
            # A page of the service must not run scripts; a file that was saved may.
            "Content-Disposition": 'attachment; filename="profile.html"',
            "X-Profiled-Status": str(status),
        }
        return HTMLResponse(text, headers=headers), error


def add_to(group: click.Group, prepare: Callable[[], Awaitable[FastAPI]]) -> None:
    """Add the command; `prepare` makes the application, and ready what it needs."""

    @group.command()
    @click.argument("method")
    @click.argument("path")
    @click.option(
        "--count", type=click.IntRange(1, 1_000_000), default=100, help="Requests  [default: 100]"
    )
    @click.option("--header", "headers", multiple=True, help='As in --header "Accept: text/csv"')
    @click.option("--body", default="", help="JSON, unless a header tells otherwise")
    @click.option(
        "--html", type=click.Path(dir_okay=False, path_type=Path), help="A page to write it to"
    )
    def profile(
        method: str, path: str, count: int, headers: tuple[str, ...], body: str, html: Path | None
    ) -> None:
        """Tell where the time of a request goes, as in `profile GET /`.

        It is made in this process, to the service as it is configured, one after the other; the
        first, which is not counted, warms it up.
        """
        scope = _scope(method.upper(), path, headers, body)
        statuses, seconds, profiler = asyncio.run(_measure(prepare, scope, body.encode(), count))
        answered = ", ".join(f"{number} x {status}" for status, number in statuses.items())
        click.echo(f"{method.upper()} {path}: {answered}, {seconds / count * 1e3:.2f} ms each")
        if html is None:
            click.echo(profiler.output_text(color=sys.stdout.isatty()))
        else:
            html.write_text(profiler.output_html(), encoding="utf-8")
            click.echo(f"{html} tells where it went.")


async def _measure(
    prepare: Callable[[], Awaitable[FastAPI]], scope: Scope, body: bytes, count: int
) -> tuple[Counter[int], float, "Profiler"]:
    """The statuses of `count` requests, the seconds that they took, and their profile."""
    app = await prepare()
    profiler = _new_profiler()
    async with app.router.lifespan_context(app) as state:
        scope["state"] = state or {}
        await _ask(app, scope, body)
        started = time.perf_counter()
        profiler.start(target_description=f"{scope['method']} {scope['path']}, {count} times")
        try:
            statuses = Counter([await _ask(app, scope, body) for _ in range(count)])
        finally:
            profiler.stop()
        return statuses, time.perf_counter() - started, profiler


async def _ask(app: ASGIApp, scope: Scope, body: bytes) -> int:
    """The status of the response to a request."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    status = 0
    ended = asyncio.Event()

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            ended.set()

    await app({**scope, "state": {**scope["state"]}}, receive, send)
    return status


def _scope(method: str, target: str, headers: tuple[str, ...], body: str) -> Scope:
    path, _, query = target.partition("?")
    given = [line.partition(":") for line in headers]
    fields = {
        b"host": b"127.0.0.1",
        _ANEW[0]: _ANEW[1],
        **({b"content-type": b"application/json"} if body else {}),
        b"content-length": str(len(body.encode())).encode(),
        **{name.strip().lower().encode(): text.strip().encode() for name, _, text in given},
    }
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": list(fields.items()),
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 0),
    }


def _new_profiler() -> "Profiler":
    # Nothing else needs it, and few who serve ever do.
    from pyinstrument import Profiler

    return Profiler(interval=_INTERVAL_SECONDS)
