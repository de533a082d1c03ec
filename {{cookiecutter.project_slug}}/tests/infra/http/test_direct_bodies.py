"""Bodies of requests to handlers that are called directly."""

from collections.abc import Iterator
from typing import Any
from weakref import ref

import pytest
from fastapi import FastAPI, HTTPException, Request
from starlette.types import Message

from app.infra.http import routes
from tests.infra.http.directly import application, ask
from tests.messages import http_scope

CONTENTS = [
    b'{"title": "a", "pages": 3}',
    b'{"title": 1}',
    b'{"pages": "x"}',
    b'{"given": {"a": [1, null]}, "other": 2}',
    b"[1]",
    b"null",
    b'"text"',
    b"{",
    b"",
    b'{"title": "\xff"}',
    '{"title": "\u00e9"}'.encode("utf-16"),
    b"[" * 100_000,
    b"title=a",
]
TYPES = [
    "application/json",
    "application/json; charset=utf-8",
    "application/problem+json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "",
]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: repr(content[:20]))
@pytest.mark.parametrize(
    "url",
    [
        "/plain/body",
        "/plain/part/1",
        "/plain/part/x",
        "/plain/any",
        "/plain/told/1",
        "/plain/told/7",
    ],
)
async def test_bodies_are_the_same(url: str, content: bytes) -> None:
    """Whatever is sent, and whatever it is called."""
    for content_type in TYPES:
        headers = [("Content-Type", content_type)] if content_type else []
        usual, indexed = application(), application()
        routes.index(indexed)
        first, second = [await ask(app, "POST", url, headers, content) for app in (usual, indexed)]
        assert first == second


BODY = b'{"title": "a"}'
RECEIVED: dict[str, list[Message | Exception]] = {
    "whole": [{"type": "http.request", "body": BODY}],
    "wrong": [{"type": "http.request", "body": b"{}"}],
    "in pieces": [
        {"type": "http.request", "body": BODY[:5], "more_body": True},
        {"type": "http.request", "body": b"", "more_body": True},
        {"type": "http.request", "body": BODY[5:]},
    ],
    "wrong in pieces": [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.request", "body": b"}"},
    ],
    "left": [{"type": "http.disconnect"}],
    "left meanwhile": [
        {"type": "http.request", "body": BODY[:5], "more_body": True},
        {"type": "http.disconnect"},
    ],
    "refused": [HTTPException(413, "too much")],
    "refused meanwhile": [
        {"type": "http.request", "body": BODY[:5], "more_body": True},
        HTTPException(413, "too much"),
    ],
    "failed": [OSError("broken")],
}


@pytest.mark.parametrize("received", RECEIVED)
async def test_receiving_is_the_same(received: str) -> None:
    """A body that comes in pieces, or not at all."""
    answers = []
    for with_index in (False, True):
        app = application()
        sent: list[Message] = []
        if with_index:
            routes.index(app)
        messages = iter(RECEIVED[received])

        async def receive(messages: Iterator[Message | Exception] = messages) -> Message:
            message = next(messages)
            if isinstance(message, Exception):
                raise message
            return message

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        await app(http_scope("/plain/body", method="POST", headers=headers), receive, send)
        answers.append((sent, list(messages)))
    assert answers[0] == answers[1]


class Piece(dict[str, Any]):
    """A message of which it can be told whether it is still held."""


async def test_what_a_function_receives_is_not_held() -> None:
    """It may be more than there is memory for."""
    app = FastAPI()
    pieces: list[ref[Piece]] = []
    left, most = 100, 0

    @app.post("/count")
    async def count(request: Request) -> int:
        return sum([len(piece) async for piece in request.stream()])

    async def receive() -> Piece:
        nonlocal most, left
        left -= 1
        piece = Piece(type="http.request", body=b"piece", more_body=left > 0)
        pieces.append(ref(piece))
        most = max(most, sum(each() is not None for each in pieces))
        return piece

    routes.index(app)
    await app(http_scope("/count", method="POST"), receive, ignore)
    assert left == 0
    assert most < 5


async def ignore(_message: Message) -> None: ...
