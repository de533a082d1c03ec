"""What a hit in the response cache costs, beside a raw ASGI application that sends the same bytes.

    uv run python -m benchmarks.cached_response

CPU time of the server per request, which hardly moves with a busy machine; medians of interleaved
rounds, and their ratios. Linux only: it reads /proc.
"""

import asyncio
import statistics
import tempfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import click

from benchmarks.servers import Server, serving, uvicorn
from benchmarks.subjects import bake, migrate

ROUNDS = 7
REQUESTS = 4_000
CONNECTIONS = 16
PATH = "/v1/products"
FACTORY = ("app.main:from_environment", "--factory", "--lifespan", "on")

RAW = """
HEADERS, BODY = {headers!r}, {body!r}

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200, "headers": HEADERS}})
        await send({{"type": "http.response.body", "body": BODY}})
"""
# The middleware by itself, around an application that answers once.
ALONE = """
from app.infra.cache import Cache
from app.infra.cache.memory import Memory, MemorySettings
from app.infra.cache.policies import ResponsePolicy
from app.infra.cache.responses import ResponseCache
from fastapi import FastAPI, Response

inner = FastAPI()

@inner.get({path!r})
async def page() -> Response:
    return Response({body!r}, media_type="application/json")

settings = MemorySettings()
cache = Cache(Memory(settings), settings)
policies = {{"page": ResponsePolicy(ttl_seconds=86_400)}}
cached = ResponseCache(inner, routes=inner.routes, policies=policies, name="alone")

async def app(scope, receive, send):
    if scope["type"] == "http":
        scope["state"] = {{"cache": cache}}
        await cached(scope, receive, send)
"""
# What the service does around every answer: request id, timing, headers, a line in its log.
AROUND = """
from app.infra import logs
from app.main import create_app
from app.settings import load_settings
from starlette.routing import Mount

from raw import app as raw

def make():
    settings = load_settings()
    logs.configure(settings.logs)
    app = create_app(settings)
    app.router.routes.insert(0, Mount({path!r}, app=raw))
    return app
"""


def served(
    folder: Path, application: str, *options: str, path: str, **settings: str
) -> AbstractContextManager[Server]:
    """An application in `folder`, with an SQLite database there."""
    url = f"sqlite+aiosqlite:///{folder}/bench.db"
    return serving(
        uvicorn(application, *options),
        folder=folder,
        path=path,
        settings={"APP_DATABASE__URL": url, **settings},
    )


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body of one answer."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    status, *lines = head[:-4].split(b"\r\n")
    if b" 200 " not in status:
        raise SystemExit(f"{path} answered {status.decode()}")
    fields = [
        (name.lower(), value.strip()) for name, _, value in (x.partition(b":") for x in lines)
    ]
    return fields, await reader.readexactly(int(dict(fields)[b"content-length"]))


async def load(port: int, path: str) -> None:
    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(REQUESTS // CONNECTIONS):
            await ask(reader, writer, path)
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(client())


async def answer(port: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await ask(reader, writer, PATH)
    found = await ask(reader, writer, PATH)
    writer.close()
    return found


def measure(server: Server, path: str) -> float:
    """Microseconds of CPU time for each request."""
    before = server.cpu_seconds()
    asyncio.run(load(server.port, path))
    return (server.cpu_seconds() - before) / REQUESTS * 1e6


@click.command(help=__doc__)
def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        project = bake(Path(scratch))
        migrate(project, {"APP_DATABASE__URL": f"sqlite+aiosqlite:///{project}/bench.db"})
        service = stack.enter_context(served(project, *FACTORY, path=PATH))
        headers, body = asyncio.run(answer(service.port))
        if b"hit" not in dict(headers)[b"cache-status"]:
            raise SystemExit("The second answer did not come from the cache")
        sent = [(name, value) for name, value in headers if name not in (b"date", b"server")]
        (project / "raw.py").write_text(RAW.format(headers=sent, body=body))
        (project / "alone.py").write_text(ALONE.format(path=PATH, body=body))
        (project / "around.py").write_text(AROUND.format(path="/raw"))
        others = {
            "raw ASGI": (("raw:app", "--lifespan", "off"), PATH),
            "a hit of the middleware": (("alone:app", "--lifespan", "off"), PATH),
            "raw ASGI within the service": (("around:make", *FACTORY[1:]), "/raw/"),
        }
        servers = {
            name: (stack.enter_context(served(project, *command, path=path)), path)
            for name, (command, path) in others.items()
        }
        servers["a hit of the service"] = service, PATH
        figures: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, server in servers.items():
                figures[name].append(measure(*server))
    base = statistics.median(figures["raw ASGI"])
    for name, found in figures.items():
        median = statistics.median(found)
        print(f"{name:<28} {median:6.1f} µs of CPU time  {median / base:5.2f} x raw ASGI")


if __name__ == "__main__":
    main()
