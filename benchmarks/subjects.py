"""What is measured: the service under some of its answers, and its references."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

from cookiecutter.main import cookiecutter

from benchmarks.load import PRODUCTS, Scenario
from benchmarks.servers import Server, free_port, serving, uvicorn

ROOT = Path(__file__).resolve().parents[1]
LIVE = "/health/live"
BATCH = 500
DRAFT = {
    "name": "A kettle of brushed steel",
    "description": "Holds 1.7 litres, switches itself off, and can be opened with one hand.",
    "price": "39.90",
    "currency": "EUR",
}
PRODUCTION = {
    "APP_ENVIRONMENT": "production",
    "APP_SECRET_KEY": "benchmarks have nothing to hide, ever",
    "APP_HTTP__ALLOWED_HOSTS": '["127.0.0.1"]',
    "APP_HTTP__DRAIN_SECONDS": "0",
    "APP_MONITORING__PORT": "0",
}

TRIVIAL = Scenario(LIVE)
READ = Scenario("/v1/products/{id}")
PAGE = Scenario("/v1/products?limit=20")
INSERT = Scenario("/v1/products", "POST", json.dumps({"sku": "b-{new}", **DRAFT}))


@dataclass(frozen=True)
class Subject:
    """A program, and what it is asked."""

    name: str
    command: list[str]
    """Its port stands there as `{port}`, or in `settings`."""
    folder: Path
    scenarios: Mapping[str, Scenario]
    settings: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def served(self) -> Iterator[Server]:
        port = free_port()
        command = [part.format(port=port) for part in self.command]
        settings = {name: value.format(port=port) for name, value in self.settings.items()}
        with serving(
            command, folder=self.folder, port=port, path=LIVE, settings=settings
        ) as server:
            yield server


def reference(
    name: str, module: str, scenarios: Mapping[str, Scenario], *, url: str, scratch: Path
) -> Subject:
    """An application of `benchmarks/references`."""
    command = uvicorn(f"benchmarks.references.{module}:app", 0)
    command[command.index("--port") + 1] = "{port}"
    settings = {"PYTHONPATH": str(ROOT), "REFERENCE_DATABASE_URL": url}
    return Subject(name, command, scratch, scenarios, settings)


def bake(scratch: Path, **answers: str) -> Path:
    """A project, as it is generated."""
    slug = "-".join(["service", *answers.values()])
    return Path(
        cookiecutter(
            str(ROOT),
            no_input=True,
            output_dir=str(scratch),
            extra_context={"project_slug": slug, **answers},
        )
    )


def service(
    name: str,
    project: Path,
    scenarios: Mapping[str, Scenario],
    *,
    url: str = "",
    **settings: str,
) -> Subject:
    """The service, as it is served in production by one process; migrated, if it has a database."""
    chosen = {**PRODUCTION, **settings}
    if url:
        chosen["APP_DATABASE__URL"] = url.replace("%", "%%")
        app(project, chosen, "migrate")
    command = [sys.executable, "-m", "app", "serve", "--port", "{port}"]
    return Subject(name, command, project, scenarios, chosen)


def app(project: Path, settings: Mapping[str, str], *arguments: str) -> None:
    """Run a command of the service."""
    ended = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=project,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise SystemExit(ended.stderr)


def fill(server: Server, count: int = PRODUCTS) -> None:
    """Add `count` products to a service whose database is empty; their ids begin at 1."""
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        drafts = [{"sku": f"p-{number}", **DRAFT} for number in numbers]
        sent = Request(
            f"http://127.0.0.1:{server.port}/v1/products/bulk",
            data=json.dumps(drafts).encode(),
            headers={"content-type": "application/json"},
        )
        with urlopen(sent) as answer:  # noqa: S310  # it is the one that was started here
            answer.read()
