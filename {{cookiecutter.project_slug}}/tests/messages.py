"""The application as a server sees it: message by message."""

import asyncio
from collections.abc import Iterable, Sequence

from starlette.types import ASGIApp, Message, Scope

Header = tuple[bytes, bytes]


def http_scope(path: str = "/", *, method: str = "GET", headers: Iterable[Header] = ()) -> Scope:
    """A request as a server announces it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"service"), *headers],
        "server": ("service", 80),
        "client": ("127.0.0.1", 50_000),
    }


async def exchange(app: ASGIApp, scope: Scope, received: Sequence[Message] = ()) -> list[Message]:
    """Everything that `app` sends to a client that leaves after it sent `received`."""
    waiting = iter(received)
    sent: list[Message] = []

    async def receive() -> Message:
        return next(waiting, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    # What is told of a request is told in the next turn.
    await asyncio.sleep(0)
    return sent


def body_of(sent: Iterable[Message]) -> bytes:
    """The body, as far as it was sent."""
    return b"".join(message.get("body", b"") for message in sent)


def headers_of(sent: Sequence[Message]) -> dict[str, str]:
    """The headers of the response, by their lower-case names."""
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}
