"""What a hit in the response cache costs, beside a raw ASGI application that sends the same bytes.

    uv run python -m benchmarks.cached_response

CPU time of the server per request, which hardly moves with a busy machine; medians of interleaved
rounds, and their ratios. Linux only: it reads /proc.
"""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 7
REQUESTS = 4_000
CONNECTIONS = 16
PATH = "/v1/products"

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


@contextmanager
def serving(
    folder: Path, application: str, *options: str, **settings: str
) -> Iterator[tuple[int, int]]:
    """The pid and the port of a server; its log is thrown away like that of any other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["uvicorn", application, "--port", str(port), "--no-access-log", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--loop", "uvloop", "--http", "httptools"],
        cwd=folder,
        env={
            **os.environ,
            "APP_DATABASE__URL": f"sqlite+aiosqlite:///{folder}/bench.db",
            **settings,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        asyncio.run(answering(port))
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


async def answering(port: int) -> None:
    """Wait until the server answers."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


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


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(pid: int, port: int, path: str = PATH) -> float:
    """Microseconds of CPU time for each request."""
    before = cpu_seconds(pid)
    asyncio.run(load(port, path))
    return (cpu_seconds(pid) - before) / REQUESTS * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=scratch))
        subprocess.run(
            [sys.executable, "-m", "app", "migrate"],
            cwd=project,
            env={**os.environ, "APP_DATABASE__URL": f"sqlite+aiosqlite:///{project}/bench.db"},
            check=True,
            capture_output=True,
        )
        service = stack.enter_context(
            serving(project, "app.main:from_environment", "--factory", "--lifespan", "on")
        )
        headers, body = asyncio.run(answer(service[1]))
        if b"hit" not in dict(headers)[b"cache-status"]:
            raise SystemExit("The second answer did not come from the cache")
        sent = [(name, value) for name, value in headers if name not in (b"date", b"server")]
        (project / "raw.py").write_text(RAW.format(headers=sent, body=body))
        (project / "alone.py").write_text(ALONE.format(path=PATH, body=body))
        (project / "around.py").write_text(AROUND.format(path="/raw"))
        servers: dict[str, tuple[int, int] | tuple[int, int, str]] = {
            "raw ASGI": stack.enter_context(serving(project, "raw:app", "--lifespan", "off")),
            "a hit of the middleware": stack.enter_context(
                serving(project, "alone:app", "--lifespan", "off")
            ),
            "raw ASGI within the service": (
                *stack.enter_context(
                    serving(project, "around:make", "--factory", "--lifespan", "on")
                ),
                "/raw/",
            ),
            "a hit of the service": service,
        }
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
