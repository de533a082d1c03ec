"""What is measured: the service under some of its answers, and its references."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from benchmarks.load import PRODUCTS, Scenario
from benchmarks.servers import Server, serving, uvicorn

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
CROWD = Scenario("/v1/products/{id}", connections=256)
HIT = Scenario("/v1/products/7")
PAGE = Scenario("/v1/products?limit=20")
INSERT = Scenario("/v1/products", "POST", json.dumps({"sku": "b-{new}", **DRAFT}))


@dataclass(frozen=True)
class Subject:
    """A program, and what it is asked."""

    name: str
    command: list[str]
    """Its port stands there as `{port}`."""
    folder: Path
    scenarios: Mapping[str, Scenario]
    settings: Mapping[str, str]
    live: str = LIVE
    """What answers with 200 as soon as it serves."""

    def served(self) -> AbstractContextManager[Server]:
        return serving(self.command, folder=self.folder, path=self.live, settings=self.settings)


def reference(
    name: str, module: str, scenarios: Mapping[str, Scenario], *, url: str, scratch: Path
) -> Subject:
    """An application of `benchmarks/references`."""
    command = uvicorn(f"benchmarks.references.{module}:app")
    settings = {"PYTHONPATH": str(ROOT), "REFERENCE_DATABASE_URL": url}
    return Subject(name, command, scratch, scenarios, settings)


def bake(scratch: Path, **answers: str) -> Path:
    """A project, as it is generated."""
    slug = "-".join(["service", *answers.values()])
    given = [f"{prompt}={answer}" for prompt, answer in {"project_slug": slug, **answers}.items()]
    command = ["cookiecutter", str(ROOT), "--no-input", "--output-dir", str(scratch), *given]
    ended = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return scratch / slug


def service(
    name: str,
    project: Path,
    scenarios: Mapping[str, Scenario],
    *,
    url: str,
    **settings: str,
) -> Subject:
    """The service, as it is served in production by one process; its database is made here."""
    chosen = {**PRODUCTION, **settings, "APP_DATABASE__URL": url}
    migrate(project, chosen)
    return Subject(name, serve_command(), project, scenarios, chosen)


def serve_command() -> list[str]:
    """Of the service, as it is served by one process."""
    return [sys.executable, "-m", "app", "serve", "--port", "{port}"]


def migrate(project: Path, settings: Mapping[str, str]) -> None:
    """Make the tables of a service."""
    ended = subprocess.run(
        [sys.executable, "-m", "app", "migrate"],
        cwd=project,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise SystemExit(ended.stderr)


def fill(server: Server) -> None:
    """Add the products to a service whose database is empty; their ids begin at 1."""
    for first in range(0, PRODUCTS, BATCH):
        drafts = [{"sku": f"p-{number}", **DRAFT} for number in range(first, first + BATCH)]
        sent = Request(
            f"http://127.0.0.1:{server.port}/v1/products/bulk",
            data=json.dumps(drafts).encode(),
            headers={"content-type": "application/json"},
        )
        with urlopen(sent) as answer:  # noqa: S310  # it is the one that was started here
            answer.read()


def take_out_policy(project: Path) -> None:
    """Leave the product's route to the cache of functions, as an owner would."""
    path = project / "app" / "catalog" / "cached.py"
    policy = '    "read_product": ResponsePolicy(ttl_seconds=60, tags=_of_product),\n'
    text = path.read_text()
    if policy not in text:
        raise SystemExit(f"{path} has no policy for read_product any more; look what it is called")
    path.write_text(text.replace(policy, ""))
