"""Services that other templates make, measured as they are generated.

A peer and its project are installed by uv, in environments of their own and within the versions
that they ask for: nothing there comes from this project. The interpreter is the one of this run.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from benchmarks.databases import database, rows
from benchmarks.load import PRODUCTS, Scenario
from benchmarks.servers import LOOP
from benchmarks.subjects import Subject

PEER = "fastapi_template"
RELEASES = f"{PEER}>=6.1,<7"
CHOICES = (
    *("--api-type", "rest", "--db", "postgresql", "--orm", "sqlalchemy", "--ci", "none"),
    *("--migrations", "--dummy", "--routers", "--prometheus", "--loguru"),
)
# From 0.137 on FastAPI keeps routers among its routes. The peer bounds its middleware for
# Prometheus to releases that do not know that, and answer 500 to every request.
FASTAPI = "fastapi<0.137"

HEALTH = "/api/health"
# The names say what is not alike: its dummies have an id and a name, and no route reads one by id.
SCENARIOS = {
    "trivial (health check)": Scenario(HEALTH),
    "list of 1 (no read by id)": Scenario("/api/dummy/?limit=1&offset={id}"),
    "list of 20": Scenario("/api/dummy/?limit=20"),
    "insert (commits later)": Scenario("/api/dummy/", "PUT", json.dumps({"name": "b-{new}"})),
}

# One more than there are products: the last of those has to have an offset.
FILL = f"INSERT INTO dummy_model (name) SELECT 'p-' || n FROM generate_series(0, {PRODUCTS}) AS n"  # noqa: S608  # nothing of it is foreign

INSTEAD = "or leave out --peers."
OTHER_PYTHON = "uv run --isolated --python 3.13 python -m benchmarks --peers"
_MOST_CHARACTERS = 400
# Of this run: they would lead uv into this project.
_INHERITED = ("PYTHONPATH", "UV_PROJECT", "VIRTUAL_ENV")


@contextmanager
def fastapi_template(scratch: Path) -> Iterator[Subject]:
    """The service of the package of this name, over SQLAlchemy and asyncpg, with 1,000 dummies.

    Exits with one sentence, and what to do, where it cannot be had.
    """
    version = _version(scratch)
    project = _generate(scratch, version)
    _install(project, version)
    python = str(project / ".venv" / "bin" / "python")
    with database("asyncpg") as url:
        settings = _settings(url, scratch)
        _run(
            [python, "-m", "alembic", "upgrade", "head"],
            project,
            f"The tables of {PEER} {version} cannot be made",
            f"look whether PostgreSQL lets it in by a password over TCP, {INSTEAD}",
            settings,
        )
        rows(url, FILL)
        short = ".".join(version.split(".")[:2])
        yield Subject(f"{PEER} {short}", _serve(python), project, SCENARIOS, settings, live=HEALTH)


def _serve(python: str) -> list[str]:
    """By what its own command chooses: a line of the log for each request is the service's, too."""
    return [
        *(python, "-m", "uvicorn", "peer.web.application:get_app", "--factory"),
        *("--port", "{port}", *LOOP),
    ]


def _settings(url: str, scratch: Path) -> dict[str, str]:
    """Of its project, and where its command lets prometheus-client keep its figures."""
    figures = scratch / "peer-figures"
    figures.mkdir()
    address = make_url(url)
    return {
        "PEER_DB_BASE": address.database or "",
        "PEER_DB_HOST": address.host or "127.0.0.1",
        "PEER_DB_PASS": str(address.password or ""),
        "PEER_DB_PORT": str(address.port or 5432),
        "PEER_DB_USER": address.username or "",
        "PROMETHEUS_MULTIPROC_DIR": str(figures),
        "PYTHONPATH": "",
    }


def _version(scratch: Path) -> str:
    """The newest that is known here."""
    return _run(
        [*_tool(RELEASES), "--version"],
        scratch,
        f"{PEER} cannot be installed",
        f"look whether the package registry answers, {INSTEAD}",
    ).strip()


def _generate(scratch: Path, version: str) -> Path:
    failed = f"{PEER} {version} makes no project"
    remedy = f"see whether CHOICES of benchmarks/peers.py are still its options, {INSTEAD}"
    said = _run(
        [*_tool(f"{PEER}=={version}"), "--name", "peer", "--quiet", *CHOICES],
        scratch,
        failed,
        remedy,
        # Its hook begins with a repository. Where there can be none it leaves out the rest: to
        # install tools of development, and to tidy up by others that it fetches from GitHub.
        {"GIT_DIR": os.devnull},
    )
    project = scratch / "peer"
    if not (project / "pyproject.toml").is_file():
        # It tells of that and exits with 0.
        raise SystemExit(f"{failed} ({_shortened(said)}): {remedy}")
    return project


def _install(project: Path, version: str) -> None:
    """What it depends on in production."""
    _run(
        [_uv(), "sync", "--quiet", "--no-dev", "--upgrade-package", FASTAPI],
        project,
        f"The project of {PEER} {version} cannot be installed",
        f"choose another Python, as in {OTHER_PYTHON}, {INSTEAD}",
    )


def _uv() -> str:
    """`uv run` tells its children where it is."""
    found = os.environ.get("UV") or shutil.which("uv")
    if found is None:
        raise SystemExit(f"uv is missing: pip install uv, {INSTEAD}")
    return found


def _tool(package: str) -> list[str]:
    """The peer's command, in an environment of this run's own."""
    return [_uv(), "tool", "run", "--quiet", "--isolated", "--from", package, PEER]


def _run(
    command: Sequence[str],
    folder: Path,
    failed: str,
    remedy: str,
    settings: Mapping[str, str] = {},
) -> str:
    """What a command prints; exits with a sentence of both and the command's reason if it fails."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_INHERITED)}
    ours = {
        # What it leaves behind goes with the folder.
        "TMPDIR": str(folder),
        "UV_PYTHON": sys.executable,
        "UV_PYTHON_DOWNLOADS": "never",
    }
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**kept, **ours, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise SystemExit(f"{failed} ({_shortened(ended.stderr)}): {remedy}")
    return ended.stdout


def _shortened(said: str) -> str:
    """In one line; the end is where the reason is."""
    return " ".join(said.split())[-_MOST_CHARACTERS:]
