"""A baked project: its files, the tools that judge it, and its own environment."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx2

# Tools of the template's environment judge every combination; only a few get their own environment.
SCRIPTS = Path(sys.executable).parent

# Of the template's own run: they would lead a baked project's tools to the wrong place, or have
# each of their processes compile its libraries anew.
INHERITED = (
    "APP_",
    "COV",
    "GIT_",
    "PYTEST",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "UV_PROJECT",
    "VIRTUAL_ENV",
)


def clean_environment() -> dict[str, str]:
    """The variables that a user's terminal would have, and the interpreter that runs the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(INHERITED)}
    return kept | {
        "NO_COLOR": "1",
        "PYTHONUTF8": "1",
        "UV_PYTHON": sys.executable,
        "UV_PYTHON_DOWNLOADS": "never",
    }


def run(
    command: list[str | Path], where: Path, settings: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run a command in a project and keep what it says."""
    return subprocess.run(
        command,
        check=False,
        cwd=where,
        env={**clean_environment(), **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def complaints(command: list[str | Path], where: Path, settings: Mapping[str, str] = {}) -> str:
    """What a tool says when it fails, the empty string when it passes."""
    ended = run(command, where, settings)
    return "" if ended.returncode == 0 else f"exit code {ended.returncode}: {ended.stdout}"


def ruff_complaints(project: Path, *arguments: str) -> str:
    """Of `ruff check` and `ruff format --check`."""
    ruff = [SCRIPTS / "ruff"]
    checked = complaints([*ruff, "check", "--no-cache", *arguments, "."], project)
    return checked + complaints(
        [*ruff, "format", "--check", "--no-cache", *arguments, "."], project
    )


def contract_complaints(project: Path) -> str:
    """Of import-linter."""
    return complaints([SCRIPTS / "lint-imports", "--no-cache"], project)


def dependency_complaints(project: Path) -> str:
    """Of deptry."""
    return complaints([SCRIPTS / "deptry", "--no-ansi", "."], project)


def files(project: Path) -> Iterator[Path]:
    """Every file of a project, sorted, but none of an environment or a cache."""
    for path in sorted(project.rglob("*")):
        hidden = {".venv", ".mypy_cache", ".pytest_cache", "__pycache__"}
        if path.is_file() and hidden.isdisjoint(path.relative_to(project).parts):
            yield path


def python_files(project: Path) -> Iterator[Path]:
    return (path for path in files(project) if path.suffix == ".py")


@dataclass(frozen=True)
class Installed:
    """A baked project with an environment of its own."""

    path: Path
    python: Path

    def copy(self, target: Path) -> "Installed":
        """The same project once more, to be changed, in the same environment."""
        shutil.copytree(self.path, target, ignore=shutil.ignore_patterns(".venv", "*.db*"))
        return Installed(target, self.python)

    def complaints(self, *arguments: str | Path, **settings: str) -> str:
        """What `python …` says in the project when it fails."""
        return complaints([self.python, *arguments], self.path, settings)

    def having(self, patterns: Iterable[str]) -> list[str]:
        """What it has of `patterns`, and nothing twice."""
        found = {path.relative_to(self.path) for each in patterns for path in self.path.glob(each)}
        return sorted(str(path) for path in found if found.isdisjoint(path.parents))


def uv() -> str:
    """`uv run` tells its children where it is."""
    found = os.environ.get("UV") or shutil.which("uv")
    assert found is not None, "uv is not installed: pip install uv"
    return found


def install(project: Path) -> Installed:
    """Copy a baked project to a folder of its own and install what it depends on."""
    copy = Path(tempfile.mkdtemp(prefix="service-")) / project.name
    shutil.copytree(project, copy)
    failed = complaints([uv(), "sync", "--quiet"], copy)
    assert not failed, failed
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    return Installed(copy, copy / ".venv" / scripts / "python")


def free_ports(project: Installed) -> dict[str, str]:
    """Settings of a service beside others, where it has these settings."""
    has = (project.path / ".env.example").read_text(encoding="utf-8")
    names = ("APP_MONITORING__PORT", "APP_MONITORING__WORKER_PORT")
    return {name: "0" for name in names if name in has}


@contextmanager
def serving(project: Installed, **settings: str) -> Iterator[httpx2.Client]:
    """A client of `python -m app serve` at a free port; the process ends with the context."""
    with logged(project, settings) as (client, _):
        yield client


@contextmanager
def logged(
    project: Installed, settings: Mapping[str, str]
) -> Iterator[tuple[httpx2.Client, list[str]]]:
    """The same, and the lines that it logs, as they come."""
    lines: list[str] = []
    process = subprocess.Popen(
        [project.python, "-m", "app", "serve", "--no-reload", "--port", "0"],
        cwd=project.path,
        env={**clean_environment(), **free_ports(project), **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stderr is not None
    # Nobody else reads the rest of the log, and a full pipe would stop the service.
    rest = Thread(target=lines.extend, args=[process.stderr])
    with process:
        try:
            with httpx2.Client(base_url=listening_at(process.stderr, lines), timeout=30) as client:
                rest.start()
                yield client, lines
        finally:
            process.terminate()
            if rest.ident:
                rest.join()


@contextmanager
def working(project: Installed, **settings: str) -> Iterator[None]:
    """`python -m app worker`; the process ends with the context."""
    process = subprocess.Popen(
        [project.python, "-m", "app", "worker", "--health-port", "0"],
        cwd=project.path,
        env={**clean_environment(), **free_ports(project), **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        try:
            yield
        finally:
            process.terminate()


def listening_at(log: Iterable[str], said: list[str]) -> str:
    """The address in a service's log, whose lines join what it `said`."""
    for line in log:
        said.append(line)
        if address := re.search(r"http://127\.0\.0\.1:\d+", line):
            return address[0]
    # Without one, the log ends when the service does.
    raise AssertionError("".join(said))
