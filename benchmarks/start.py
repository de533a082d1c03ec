"""How long it takes to begin: to bake a project, and to answer first; and in how much memory.

    uv run python -m benchmarks.start

The service under some of its answers beside bare FastAPI, in turns; medians. Each has what its user
installs and nothing else, since libraries import others where they find them, and its bytecode.
Linux: it reads /proc.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import psutil

from benchmarks.databases import database
from benchmarks.servers import serving
from benchmarks.subjects import (
    LIVE,
    PRODUCTION,
    ROOT,
    Subject,
    bake,
    reference,
    serve_command,
    service,
)

ROUNDS = 9
NOTHING = {
    "database_driver": "none",
    "cache_backend": "none",
    "task_queue": "none",
    "monitoring": "none",
    "example": "none",
}
BASE = "bare FastAPI"
ORM = "bare FastAPI, ORM"


@click.command(help=__doc__)
def main() -> None:
    with tempfile.TemporaryDirectory() as name, database("asyncpg") as url:
        scratch = Path(name)
        subjects = chosen(scratch, url)
        empty = nothing(scratch / "empty")
        for subject in subjects:
            started(subject)
        figures: dict[tuple[str, str], list[float]] = defaultdict(list)
        for _ in range(ROUNDS):
            for subject in subjects:
                for what, value in started(subject).items():
                    figures[subject.name, what].append(value)
            figures["baking", "s"].append(baking(ROOT))
            figures["baking an empty template", "s"].append(baking(empty))
            figures["cookiecutter --version", "s"].append(timed(version))
    tell({key: statistics.median(values) for key, values in figures.items()})


def chosen(scratch: Path, url: str) -> list[Subject]:
    bare = bake(scratch, **NOTHING)
    asyncpg = bake(scratch, database_driver="asyncpg")
    default = bake(scratch)
    return [
        installed(reference(BASE, "bare", {}, url="", scratch=scratch), bare),
        # What any service with a database begins with: SQLAlchemy is imported, nothing is opened.
        installed(reference(ORM, "orm", {}, url=url, scratch=scratch), asyncpg),
        installed(Subject("nothing chosen", serve_command(), bare, {}, PRODUCTION), bare),
        installed(
            service("the defaults", default, {}, url=f"sqlite+aiosqlite:///{default}/start.db"),
            default,
        ),
        installed(service("asyncpg", asyncpg, {}, url=url), asyncpg),
    ]


def installed(subject: Subject, project: Path) -> Subject:
    """The same with the packages of `project` alone."""
    uv = os.environ.get("UV", "uv")
    subprocess.run([uv, "sync", "--quiet", "--no-dev"], check=True, cwd=project)
    command = [str(project / ".venv" / "bin" / "python"), *subject.command[1:]]
    settings = {**subject.settings, "PYTHONDONTWRITEBYTECODE": ""}
    return replace(subject, command=command, settings=settings)


def started(subject: Subject) -> dict[str, float]:
    """Seconds to the first 200, CPU seconds until then, and MiB of the process that serves."""
    began = time.perf_counter()
    with serving(
        subject.command, folder=subject.folder, path=LIVE, settings=subject.settings
    ) as server:
        seconds = time.perf_counter() - began
        cpu_seconds = server.cpu_seconds()
        process = psutil.Process(server.pid)
        memory = max(
            each.memory_full_info().uss for each in [process, *process.children(recursive=True)]
        )
    return {"s": seconds, "CPU s": cpu_seconds, "MiB": memory / 2**20}


def nothing(template: Path) -> Path:
    """A template of one empty file: to bake it, cookiecutter loads all that it ever does."""
    project = template / "{{cookiecutter.project_slug}}"
    project.mkdir(parents=True)
    (template / "cookiecutter.json").write_text('{"project_slug": "nothing"}')
    (project / "empty.txt").touch()
    return template


def baking(template: Path) -> float:
    """Seconds that it takes, without those to delete what was baked."""
    with tempfile.TemporaryDirectory() as target:
        return timed(lambda: cookiecutter(str(template), "--no-input", "--output-dir", target))


def version() -> None:
    cookiecutter("--version")


def cookiecutter(*arguments: str) -> None:
    command = [sys.executable, "-m", "cookiecutter", *arguments]
    # With its bytecode, as whoever uses it has it.
    settings = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(command, check=True, capture_output=True, env=settings)


def timed(do: Callable[[], None]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def tell(found: dict[tuple[str, str], float]) -> None:
    for (name, what), value in found.items():
        base = found.get((BASE, what))
        ratio = f"{value / base:6.2f} x {BASE}" if base and name != BASE else ""
        print(f"{name:<24} {value:8.2f} {what:<6} {ratio}")
    for what in ("cookiecutter --version", "baking an empty template"):
        print(f"{found['baking', 's'] - found[what, 's']:.2f} s of baking beyond {what}")


if __name__ == "__main__":
    main()
