"""Write the trace of one request into `docs/tracing.md`, as a real run tells it.

    PYTHONPATH=tests uv run python scripts/trace.py

It bakes a service over PostgreSQL, with a tiered cache and Celery over Redis, serves it beside a
worker, posts a price list, and shows what a collector was told. It needs the servers of the tests.
"""

import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from choices import ROOT
from cookiecutter.main import cookiecutter
from httpx2 import Client
from project import Installed, run, serving, working
from services import FIND, REDIS_URL
from template import program

ANSWERS = {
    "database_driver": "asyncpg",
    "cache_backend": "tiered",
    "task_queue": "celery-redis",
    "monitoring": "opentelemetry",
}
COLLECTOR = program(ROOT / "{{cookiecutter.project_slug}}" / "tests" / "otlp_receiver.py")
DOCUMENT = ROOT / "docs" / "tracing.md"
BEGIN, END = "<!-- trace: begin (scripts/trace.py) -->\n", "<!-- trace: end -->"
PRICES = "sku,name,price,currency\nP-1,Lamp,19.99,EUR\nP-2,Desk,249.00,EUR\n"
PATIENCE_SECONDS = 60
LONGEST_NAME = 66


def ask(project: Installed, statement: str) -> str:
    """What a statement about the server of databases prints."""
    ended = run([project.python, "-c", FIND.format(support="postgresql") + statement], project.path)
    if ended.returncode:
        raise SystemExit(ended.stdout)
    return ended.stdout.strip().splitlines()[-1] if ended.stdout else ""


def settings(collector: Any, database_url: str) -> dict[str, str]:
    prefix = f"trace-{uuid.uuid4().hex}"
    rooms = ("CACHE", "SESSIONS", "TASKS")
    return {
        "APP_DATABASE__URL": database_url,
        **{f"APP_{room}__URL": REDIS_URL for room in rooms},
        **{f"APP_{room}__PREFIX": prefix for room in rooms},
        "APP_MONITORING__ENDPOINT": collector.url,
    }


def traced(project: Installed) -> list[Any]:
    """The spans of a request that imports a price list, and of its job."""
    url = ask(project, "print(server.create())")
    try:
        with COLLECTOR.receiving() as collector:
            variables = settings(collector, url)
            with serving(project, **variables) as client, working(project, **variables):
                # The first is performed by a process that has just begun.
                for _ in range(2):
                    import_prices(client)
            request = collector.named("POST /v1/products/import")[-1]
            spans: list[Any] = collector.trace(request.trace_id)
            return spans
    finally:
        ask(project, f"server.drop({url!r})")


def import_prices(client: Client) -> None:
    """Post a price list, and wait for its job."""
    headers = {"Content-Type": "text/csv"}
    answer = client.post("/v1/products/import", content=PRICES, headers=headers)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while client.get(answer.headers["Location"]).json()["state"] != "succeeded":
        if time.monotonic() > deadline:
            raise SystemExit("The job has not ended")
        time.sleep(0.05)


def rows(spans: list[Any], parent_id: str = "", above: str = "") -> Iterator[tuple[str, Any]]:
    """Each span with its place in the tree, depth first."""
    children = [span for span in spans if span.parent_id == parent_id]
    for span in children:
        last = span is children[-1]
        branch = ("└─ " if last else "├─ ") if parent_id else ""
        yield above + branch, span
        yield from rows(spans, span.span_id, above + ("   " if last else "│  ") * bool(parent_id))


def tree(spans: list[Any]) -> str:
    """When each span began and how long it took, in milliseconds."""
    began_ns = spans[0].began_ns
    lines = [f"{'':<{LONGEST_NAME}} {'began':>8} {'took':>8}"]
    for place, span in rows(spans):
        text = " ".join(span.attributes.get("db.query.text", "").split()[1:])
        text = text or span.attributes.get("db.system.name", "")
        name = f"{place}{span.name} {text}".rstrip()
        if len(name) > LONGEST_NAME:
            name = name[: LONGEST_NAME - 2] + " …"
        began_ms, took_ms = (span.began_ns - began_ns) / 1e6, (span.ended_ns - span.began_ns) / 1e6
        lines.append(f"{name:<{LONGEST_NAME}} {began_ms:>8.1f} {took_ms:>8.1f}")
    return "\n".join(lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        baked = cookiecutter(str(ROOT), no_input=True, output_dir=scratch, extra_context=ANSWERS)
        shown = tree(traced(Installed(Path(baked), Path(sys.executable))))
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}```text\n{shown}\n```\n{END}{after}", encoding="utf-8")
    print(shown)


if __name__ == "__main__":
    main()
