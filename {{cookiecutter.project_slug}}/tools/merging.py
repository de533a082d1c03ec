"""What an update is made of: versions of the template, this project, and git to merge them."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeGuard

import click

RECORD = ".cruft.json"
OWNED = (".env", "uv.lock")
"""What is the project's own, whatever a template may bring."""
README = "README.md"

COMMAND = "uv run tools/template.py"
_REVISION = re.compile(r"""^revision\b.*= ["'](.+)["']$""", re.MULTILINE)
_RELEASE = re.compile(r"v\d+\.\d+\.\d+")
_SHORTHANDS = {
    "gh:": "https://github.com/",
    "gl:": "https://gitlab.com/",
    "bb:": "https://bitbucket.org/",
}
_NOBODY = {
    f"GIT_{role}_{what}": f"template{at}"
    for role in ("AUTHOR", "COMMITTER")
    for what, at in (("NAME", ""), ("EMAIL", "@localhost"))
}
# In a process of its own, for the library keeps what it has loaded.
_BAKE = """
import json, sys
from pathlib import Path
from cookiecutter.generate import generate_context
from cookiecutter.main import cookiecutter
from cookiecutter.prompt import prompt_for_config

template, folder, given = sys.argv[1:]
context = generate_context(Path(template, "cookiecutter.json"), extra_context=json.loads(given))
answers = {
    name: answer
    for name, answer in prompt_for_config(context, no_input=True).items()
    if not name.startswith("_")
}
project = cookiecutter(
    template, no_input=True, extra_context=answers, output_dir=folder, default_config=True
)
print(json.dumps([project, answers]), file=sys.stderr)
"""

Answers = dict[str, str]


class Refusal(click.ClickException):
    """Why nothing was done, and what helps."""


class Repository:
    """A repository of git, which is asked by its own program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self,
        *arguments: str | Path,
        environment: Mapping[str, str] = MappingProxyType({}),
        captured: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        # Somebody who is called by git has variables that name another repository.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(
            ["git", *arguments],
            capture_output=captured,
            check=False,
            cwd=self.folder,
            encoding="utf-8",
            env={**clean, **environment},
            # An interrupt ends this program, and leaves git the time to end what it does.
            start_new_session=captured,
        )

    def ask(
        self, *arguments: str | Path, environment: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        """What git says.

        Raises:
            Refusal: it says no.
        """
        asked = self.run(*arguments, environment=environment)
        if asked.returncode:
            raise Refusal(f"git {arguments[0]} did not work: {asked.stderr.strip()}")
        return asked.stdout.strip()

    def commit_of(self, name: str) -> str:
        """The commit that a tag, a branch or a part of an id stands for."""
        for full in (f"refs/tags/{name}", f"refs/remotes/origin/{name}", name):
            found = self.run("rev-parse", "--verify", "--quiet", f"{full}^0")
            if found.returncode == 0:
                return found.stdout.strip()
        raise Refusal(f"The template has no {name}: name a tag, a branch or a commit that it has.")

    def releases(self) -> list[str]:
        """Tags of releases, the latest last; what comes before one (v2.0.0rc1) does not count."""
        return sorted(filter(_RELEASE.fullmatch, self.ask("tag").split()), key=numbers)


@dataclass(frozen=True)
class Version:
    """The template at one commit, laid out in a folder."""

    folder: Path
    commit: str

    @property
    def context(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "cookiecutter.json").read_text("utf-8"))
        return found

    @property
    def number(self) -> str:
        """Of the release that it is, or comes after."""
        return str(self.context.get("_version", "0.0.0"))

    @property
    def prompts(self) -> dict[str, Any]:
        return {name: value for name, value in self.context.items() if name[0] != "_"}

    def migrations(self, since: str) -> list[dict[str, Any]]:
        """What has become of prompts and values in the releases after one, in their order."""
        path = self.folder / "migrations.json"
        rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else []
        later = [row for row in rows if numbers(row["version"]) > numbers(since)]
        return sorted(later, key=lambda row: numbers(row["version"]))

    def changes(self, since: str) -> str:
        """What the changelog says of the releases after one."""
        path = self.folder / "CHANGELOG.md"
        text = path.read_text("utf-8") if path.exists() else ""
        parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
        numbered = [(re.match(r"## \[v?(\d+\.\d+\.\d+)", part), part) for part in parts]
        return "\n".join(
            part.strip() + "\n"
            for number, part in numbered
            if number and numbers(number[1]) > numbers(since)
        )

    def bake(self, answers: Answers) -> tuple[Path, Answers]:
        """The project that it makes of `answers`, and these with the defaults of the others.

        Raises:
            Refusal: it refuses them.
        """
        folder = tempfile.mkdtemp(prefix="baked-", dir=self.folder.parent)
        baked = subprocess.run(
            [sys.executable, "-c", _BAKE, self.folder, folder, json.dumps(answers)],
            capture_output=True,
            check=False,
            encoding="utf-8",
        )
        lines = baked.stderr.strip().splitlines() or ["It does not say why."]
        if baked.returncode:
            raise Refusal(f"The template refuses the answers: {lines[0]}")
        path, answers = json.loads(lines[-1])
        for name in (RECORD, *OWNED):
            Path(path, name).unlink(missing_ok=True)
        return Path(path), answers


def _is_record(found: object) -> TypeGuard[dict[str, Any]]:
    """Whether it has what cruft's has, of which the others can be left out."""
    if not isinstance(found, dict):
        return False
    named = isinstance(found.get("template"), str) and isinstance(found.get("commit"), str)
    context = found.get("context")
    return named and isinstance(context, dict) and isinstance(context.get("cookiecutter"), dict)


class Project:
    """This project: a folder of a repository, and the record of where it comes from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        where = Repository(folder).run("rev-parse", "--show-toplevel", "--show-prefix", "HEAD")
        if where.returncode:
            raise Refusal("There is no commit to go back to: git init, git add, git commit first.")
        if not Repository(folder).ask("ls-files", "."):
            # What it ignores git changes without a word, and cannot bring back.
            raise Refusal(
                "The repository around this project does not hold it: move the project out of"
                " there, then git init, git add and git commit."
            )
        top, self.prefix, _ = where.stdout.splitlines()
        self.repository = Repository(Path(top))

    @property
    def record(self) -> dict[str, Any]:
        """Where it comes from.

        Raises:
            Refusal: nobody knows.
        """
        try:
            found: object = json.loads((self.folder / RECORD).read_text("utf-8"))
        except FileNotFoundError:
            raise Refusal(
                "It is not recorded where this project comes from:"
                f" {COMMAND} link URL --commit COMMIT records it."
            ) from None
        except ValueError as error:
            raise Refusal(f"{RECORD} is damaged ({error}): restore it from git.") from None
        if not _is_record(found):
            raise Refusal(f"{RECORD} is not what cruft writes: restore it from git.")
        return found

    @property
    def answers(self) -> Answers:
        if not (self.folder / RECORD).exists():
            return {}
        context = self.record["context"]["cookiecutter"]
        return {name: answer for name, answer in context.items() if name[0] != "_"}

    def refuse_changes(self) -> None:
        """Git can bring back what was committed, and only that."""
        if changed := self.repository.ask("status", "--porcelain").splitlines():
            some = ", ".join(line.split(maxsplit=1)[1] for line in changed[:5])
            raise Refusal(f"There are changes that no commit holds ({some}): commit or stash them.")

    def commit(self, tree: Path, *parents: str) -> str:
        """A commit, on no branch, in which this project is what lies in `tree`."""
        there = {
            "GIT_DIR": self.repository.ask("rev-parse", "--absolute-git-dir"),
            "GIT_INDEX_FILE": str(tree.parent / "index"),
            "GIT_WORK_TREE": str(tree),
        }
        baked = Repository(tree)
        baked.ask("add", "--all", "--force", ".", environment=there)
        written = baked.ask("write-tree", environment=there)
        if self.prefix:
            baked.ask("read-tree", "--empty", environment=there)
            baked.ask("read-tree", f"--prefix={self.prefix}", written, environment=there)
            written = baked.ask("write-tree", environment=there)
        above = [word for parent in parents for word in ("-p", parent)]
        return self.repository.ask(
            "commit-tree", "-m", "template", *above, written, environment=_NOBODY
        )

    def conflicts(self, base: str, theirs: str) -> list[str]:
        """Where a merge would have conflicts."""
        tree = self.repository.ask("rev-parse", "HEAD^{tree}")
        ours = self.repository.ask(
            "commit-tree", "-m", "ours", "-p", base, tree, environment=_NOBODY
        )
        merged = self.repository.run("merge-tree", "--name-only", "--no-messages", ours, theirs)
        return sorted(set(merged.stdout.splitlines()[1:])) if merged.returncode == 1 else []

    def revisions_lost(self, base: str, theirs: str) -> list[str]:
        """Revisions of the schema that a merge takes away, in the order to undo them."""
        lost = self.repository.ask(
            "diff", "--name-only", "--diff-filter=D", base, theirs, "--", "*/migrations/*.py"
        )
        texts = [self.repository.ask("show", f"{base}:{name}") for name in lost.splitlines()]
        named = [_REVISION.search(text) for text in texts]
        return sorted((found[1] for found in named if found), reverse=True)

    def merge(self, theirs: str) -> list[str]:
        """Change files and index by what `theirs` changes; where there are conflicts."""
        merged = self.repository.run("cherry-pick", "--no-commit", theirs)
        found = self.repository.ask("diff", "--name-only", "--diff-filter=U").splitlines()
        if merged.returncode and not found:
            raise Refusal(f"git did not merge: {merged.stderr.strip()}")
        return found

    def lock(self) -> None:
        """Find the versions again that the lock file names: it is never merged."""
        if not (self.folder / "uv.lock").exists():
            return
        uv = os.environ.get("UV", "uv")
        if subprocess.run([uv, "lock", "--quiet"], cwd=self.folder, check=False).returncode:
            click.echo("uv.lock is behind pyproject.toml: run uv lock.")
        else:
            self.repository.ask("add", "--update", self.folder / "uv.lock")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


@contextmanager
def cloned(template: str) -> Iterator[Repository]:
    for short, full in _SHORTHANDS.items():
        if template.startswith(short):
            template = f"{full}{template.removeprefix(short)}.git"
    with tempfile.TemporaryDirectory(prefix="template-", ignore_cleanup_errors=True) as folder:
        clone = Path(folder, "clone")
        cloned = Repository(Path(folder)).run("clone", "--no-checkout", template, clone)
        if cloned.returncode:
            raise Refusal(
                f"{template} cannot be cloned: if the template has moved, {COMMAND} link URL"
                " records where it is."
            )
        yield Repository(clone)


def laid_out(clone: Repository, commit: str, directory: str | None) -> Version:
    folder = Path(tempfile.mkdtemp(prefix="version-", dir=clone.folder.parent))
    clone.ask("--work-tree", folder, "checkout", commit, "--", ".")
    return Version(folder / (directory or ""), commit)
