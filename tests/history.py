"""Templates to update from: this one, and a small one that releases what a test wants."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from choices import ROOT
from cookiecutter.main import cookiecutter
from template import SERVICE, export

Answers = Mapping[str, str]
Tree = dict[str, tuple[bool, bytes]]

TOOLS = ROOT / SERVICE / "tools"
HOOK = ROOT / "hooks" / "post_gen_project.py"
WHO = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")


def git(folder: Path, *arguments: str) -> str:
    """What git says in `folder`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", *WHO, *arguments],
        capture_output=True,
        check=True,
        cwd=folder,
        encoding="utf-8",
        env=clean,
    ).stdout.strip()


def commit(folder: Path, message: str = "change") -> str:
    """Commit all that is in `folder`, which is a repository from then on."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def tree(folder: Path) -> Tree:
    """Every file of a project: whether it can be executed, and its bytes."""
    return {
        path.relative_to(folder).as_posix(): (os.access(path, os.X_OK), path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts and "__pycache__" not in path.parts
    }


def bake(template: Path, target: Path, answers: Answers, checkout: str | None = None) -> Path:
    """A project, as cookiecutter makes it; with `checkout`, from a clone of its own."""
    own = target / "cookiecutter"
    own.mkdir(parents=True)
    (own / "config.yaml").write_text(
        f"cookiecutters_dir: {own}\nreplay_dir: {own}\n", encoding="utf-8"
    )
    project = cookiecutter(
        str(template) if checkout is None else f"git+{template.as_uri()}",
        checkout=checkout,
        no_input=True,
        extra_context=dict(answers),
        output_dir=str(target),
        config_file=str(own / "config.yaml"),
    )
    shutil.rmtree(own)
    return Path(project)


def released(target: Path) -> Path:
    """The template as it is here, in a repository that has released it."""
    commit(export(target), "Release")
    git(target, "tag", "v0.1.0")
    return target


@dataclass(frozen=True)
class Ended:
    status: int
    said: str


class Project:
    """A baked project in a repository, and its tool."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tool(self, *arguments: str, status: int | None = 0) -> Ended:
        """Run the tool; it must end with `status`, unless that is None."""
        ended = subprocess.run(
            [sys.executable, "-B", "tools/template.py", *arguments],
            capture_output=True,
            check=False,
            cwd=self.folder,
            encoding="utf-8",
            env={name: value for name, value in os.environ.items() if name != "UV"},
            stdin=subprocess.DEVNULL,
        )
        said = ended.stdout + ended.stderr
        assert "Traceback" not in said, said
        assert status in {None, ended.returncode}, said
        assert not list(self.folder.rglob("*.rej"))
        return Ended(ended.returncode, said)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.read(".cruft.json"))
        return found

    @property
    def tree(self) -> Tree:
        return tree(self.folder)


def started(
    template: Path,
    target: Path,
    answers: Answers = MappingProxyType({}),
    checkout: str | None = None,
) -> Project:
    """A project that was baked and committed."""
    folder = bake(template, target, answers, checkout)
    commit(folder, "Start")
    return Project(folder)


class Train:
    """A small template that releases one version after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context: dict[str, Any] = {
            "project_slug": "small",
            "color": ["red", "green", "blue"],
            "greeting": "hello",
            "_version": "0.0.0",
        }
        self.migrations: list[dict[str, Any]] = []
        self.pruned = {"app/green.txt": "green"}
        self.prompt = "color"
        inner = folder / SERVICE
        shutil.copytree(TOOLS, inner / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        self.write("README.md", "Made from version {{ cookiecutter._version }} of its template.\n")
        self.write("app/main.py", LINES)
        self.write("app/color.txt", "{{ cookiecutter.color }}\n")
        self.write("app/green.txt", "green is here\n")
        self.write("app/old.py", OLD)
        self.write("app/gone.py", "".join(f"step {number}\n" for number in range(20)))
        (inner / "logo.png").write_bytes(bytes(range(256)))

    def write(self, name: str, text: str) -> None:
        path = self.folder / SERVICE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        return (self.folder / SERVICE / name).read_text(encoding="utf-8")

    def move(self, name: str, target: str) -> None:
        (self.folder / SERVICE / name).rename(self.folder / SERVICE / target)

    def delete(self, name: str) -> None:
        (self.folder / SERVICE / name).unlink()

    def release(self, number: str, changed: str = "Something.") -> None:
        """Commit what is there as a release."""
        self.context["_version"] = number
        files = {
            "cookiecutter.json": json.dumps(self.context, indent=2),
            "migrations.json": json.dumps(self.migrations, indent=2),
            "hooks/post_gen_project.py": self._hook(),
            "CHANGELOG.md": f"## [{number}]\n\n{changed}\n\n" + self._changelog(),
        }
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        commit(self.folder, number)
        git(self.folder, "tag", f"v{number}")

    def _changelog(self) -> str:
        path = self.folder / "CHANGELOG.md"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def _hook(self) -> str:
        """The template's own, which prunes other files."""
        text = HOOK.read_text(encoding="utf-8")
        begin = text.index("REMOVED: ")
        end = text.index("\n}\n", begin) + 3
        rows = "".join(
            f"    {path!r}: lambda answers: answers[{self.prompt!r}] != {color!r},\n"
            for path, color in self.pruned.items()
        )
        text = f"{text[:begin]}REMOVED = {{\n{rows}}}\n{text[end:]}"
        return text.replace("if not no_servers(answers):", "if answers.get('servers'):")


LINES = "".join(f"line {number}\n" for number in range(40))
OLD = "# Moved later.\n" + "".join(f"row {number}\nline {number}\n" for number in range(40))
