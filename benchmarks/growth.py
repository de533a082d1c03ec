"""What requests cost as the catalogue grows from 100 to 1,000,000 products.

    uv run python -m benchmarks.growth [--json FILE] [--plot FILE]

The service over asyncpg, without a cache; medians of the time of single requests, the most memory
that the process held while it exported everything, and how each grows: the exponent of the number
of products that fits best, 0 for what does not grow and 1 for what grows with it.
"""

import json
import math
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import click

from benchmarks.databases import database, rows
from benchmarks.plots import lines
from benchmarks.servers import Server
from benchmarks.subjects import PRODUCTION, bake, service

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
REPEATS = {"read by id": 300, "first page": 200, "deep page": 200, "statistics": 5}
EXPORT = "memory of the export"
FILL = """
INSERT INTO product
    (version, sku, name, description, price, currency, created_at, updated_at)
SELECT 1, 's-' || n, 'Lamp ' || md5(n::text), repeat('Shines. ', 20),
    1 + n::bigint * 7919 % 100000, 'EUR',
    timestamptz '2026-01-01' + n * interval '1 second', timestamptz '2026-01-01'
FROM generate_series({first}, {last}) AS n
"""
MIDDLE = "SELECT created_at, id FROM product ORDER BY id OFFSET {half} LIMIT 1"
CURSOR = """
import sys
from datetime import datetime
from pydantic import TypeAdapter
from app.infra.http.pages import Cursors
moment = TypeAdapter(datetime).dump_python(datetime.fromisoformat(sys.argv[2]), mode="json")
print(Cursors(sys.argv[1]).encode("products by -created_at", moment, int(sys.argv[3])))
"""

Figures = dict[str, dict[int, float]]
"""Seconds, or bytes, by question and number of products."""


@click.command()
@click.option("--json", "path", type=click.Path(path_type=Path), help="File for the figures.")
@click.option("--plot", type=click.Path(path_type=Path), help="SVG file to draw them in.")
@click.option("--largest", default=SIZES[-1], show_default=True, help="Products, at most.")
def main(path: Path | None, plot: Path | None, largest: int) -> None:
    """Measure what requests cost as the catalogue grows."""
    sizes = [size for size in SIZES if size <= largest]
    with tempfile.TemporaryDirectory() as scratch, database("asyncpg") as url:
        found = measure(Path(scratch), url, sizes)
    for question, values in found.items():
        told = "  ".join(shown(question, value) for value in values.values())
        print(f"{question:<22} n^{exponent(values):5.2f}  {told}")
    if path is not None:
        path.write_text(json.dumps(found, indent=2) + "\n")
    if plot is not None:
        plot.write_text(draw(found))


def measure(scratch: Path, url: str, sizes: list[int]) -> Figures:
    found: Figures = defaultdict(dict)
    project = bake(scratch, database_driver="asyncpg", cache_backend="none")
    subject = service("the service", project, {}, url=url)
    filled = 0
    for size in sizes:
        rows(url, FILL.format(first=filled + 1, last=size))
        rows(url, "VACUUM ANALYZE product")
        filled = size
        paths = paths_for(project, url, size)
        with subject.served() as server:
            for question, path in paths.items():
                found[question][size] = seconds_of(server, path, REPEATS[question])
            found[EXPORT][size] = bytes_of_export(server)
    return found


def paths_for(project: Path, url: str, size: int) -> dict[str, Callable[[], str]]:
    """What is asked for, one after the other."""
    [(moment, middle)] = rows(url, MIDDLE.format(half=size // 2))
    [(first, last)] = rows(url, "SELECT min(id), max(id) FROM product")
    command = [sys.executable, "-c", CURSOR, PRODUCTION["APP_SECRET_KEY"], moment.isoformat()]
    made = subprocess.run(
        [*command, str(middle)], cwd=project, check=True, capture_output=True, text=True
    )
    deep = f"/v1/products?limit=20&cursor={made.stdout.strip()}"
    return {
        "read by id": lambda: f"/v1/products/{random.randint(first, last)}",  # noqa: S311
        "first page": lambda: "/v1/products?limit=20",
        "deep page": lambda: deep,
        "statistics": lambda: "/v1/products/statistics",
    }


def seconds_of(server: Server, path: Callable[[], str], repeats: int) -> float:
    """The median time of one request, after some that nobody counts."""
    connection = HTTPConnection("127.0.0.1", server.port)
    seconds = []
    for number in range(repeats + repeats // 10 + 1):
        began = time.perf_counter()
        connection.request("GET", path())
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path()} is answered with {answer.status}")
        if number > repeats // 10:
            seconds.append(time.perf_counter() - began)
    connection.close()
    return statistics.median(seconds)


def bytes_of_export(server: Server) -> float:
    """What the process held at most while it exported, beyond what it held before."""
    process = Path(f"/proc/{server.pid}")
    (process / "clear_refs").write_text("5")  # forget the most so far
    before = most_bytes(process)
    connection = HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/v1/products/export")
    answer = connection.getresponse()
    while answer.read(2**20):
        pass
    connection.close()
    return max(1.0, most_bytes(process) - before)


def most_bytes(process: Path) -> float:
    [kib] = re.findall(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    return float(kib) * 1024


def exponent(values: dict[int, float]) -> float:
    """The slope of the straight line through the logarithms that is nearest to them."""
    points = [(math.log(size), math.log(value)) for size, value in values.items()]
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def shown(question: str, value: float) -> str:
    return f"{value / 2**20:.1f} MiB" if question == EXPORT else f"{value * 1e3:.2f} ms"


def draw(found: Figures) -> str:
    """The times; what an export holds is no time."""
    curves = {
        f"{question}, n^{exponent(values):.2f}": {
            float(size): value * 1e3 for size, value in values.items()
        }
        for question, values in found.items()
        if question != EXPORT
    }
    return lines("Time of a request, in ms, by the number of products", curves)


if __name__ == "__main__":
    main()
