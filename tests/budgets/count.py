"""Counts what requests cost, in a project whose database is filled; prints JSON.

    python count.py NAME=METHOD:PATH …

For each, with `{new}` in a path or body replaced by another number each time: calls of Python
functions and of built-in ones in the thread that serves, statements, and the bytes that are held at
most. The fewest of several requests: one in a while has the garbage collector to care for, or more
turns of the event loop.
"""

import asyncio
import json
import os
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop

sys.path.insert(0, str(Path.cwd()))

REQUESTS = 60
WARM = 40
BODY = {
    "name": "A kettle of brushed steel",
    "description": "Holds 1.7 litres, switches itself off, and can be opened with one hand.",
    "price": "39.90",
    "currency": "EUR",
}
numbers = count(1)


async def ask(app: Any, state: dict[str, Any], method: str, target: str) -> None:
    """One request, as the server would hand it on, and the turn in which it is told of."""
    number = next(numbers)
    path, _, query = target.partition("?")
    body = json.dumps({"sku": f"b-{os.getpid()}-{number}", **BODY}).encode()
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": body if method == "POST" else b""}
    ]
    headers = [(b"host", b"127.0.0.1")]
    if method == "POST":
        length = str(len(body)).encode()
        headers += [(b"content-type", b"application/json"), (b"content-length", length)]
    status = 0

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()  # a client that stays
        return messages.pop()

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": dict(state),
    }
    await app(scope, receive, send)
    await asyncio.sleep(0)
    if status not in {200, 201}:
        raise SystemExit(f"{method} {target} is answered with {status}")


async def fewest(
    measure: Callable[[], Callable[[], int]], one: Callable[[], Awaitable[None]]
) -> int:
    found: list[int] = []
    for _ in range(REQUESTS):
        stop = measure()
        await one()
        found.append(stop())
    return min(found)


def calls() -> Callable[[], int]:
    made = 0

    def note(_frame: FrameType, kind: str, _argument: object) -> None:
        nonlocal made
        made += kind in {"call", "c_call"}

    sys.setprofile(note)

    def stop() -> int:
        sys.setprofile(None)
        return made

    return stop


def held_bytes() -> Callable[[], int]:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()

    def stop() -> int:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - before

    return stop


def statements() -> Callable[[], int]:
    try:
        from app.infra.database.statements import DURATION
    except ImportError:
        return lambda: 0
    made = 0
    record = DURATION.record

    def note(amount: float, labels: tuple[str, ...]) -> None:
        nonlocal made
        made += 1
        record(amount, labels)

    DURATION.record = note

    def stop() -> int:
        DURATION.record = record
        return made

    return stop


MEASURES = {"calls": calls, "statements": statements, "bytes": held_bytes}


async def main(scenarios: list[str]) -> None:
    from app.main import from_environment

    app = from_environment()
    found: dict[str, dict[str, int]] = {}
    async with app.router.lifespan_context(app) as state:
        for scenario in scenarios:
            name, _, asked = scenario.partition("=")
            method, _, target = asked.partition(":")

            async def one(method: str = method, target: str = target) -> None:
                await ask(app, state or {}, method, target)

            for _ in range(WARM):
                await one()
            found[name] = {what: await fewest(each, one) for what, each in MEASURES.items()}
    print(json.dumps(found))


uvloop.run(main(sys.argv[1:]))
