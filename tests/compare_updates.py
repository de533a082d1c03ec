"""What becomes of edits in an update: this template's tool beside cruft and copier.

`uv run --with copier python tests/compare_updates.py` makes the same small template for each of
them, the same edits in a project of its own, takes the same release, and writes what was found into
`docs/updates.md`.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from choices import ROOT
from history import LINES, OLD, Train, bake, commit, git
from template import SERVICE

BEGIN, END = "<!-- compared: begin (tests/compare_updates.py) -->", "<!-- compared: end -->"
MINE = "this is mine"


@dataclass(frozen=True)
class Found:
    """A project after its update."""

    folder: Path
    status: int
    said: str

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def fate(self, *names: str) -> str:
        """What has become of an edit, which should be in one of these files."""
        conflicts = git(self.folder, "diff", "--name-only", "--diff-filter=U").splitlines()
        unmerged = not set(names).isdisjoint(conflicts)
        kept = any(MINE in self.read(name) for name in names)
        markers = any("<<<<<<<" in self.read(name) for name in names)
        if any(MINE in path.read_text(errors="replace") for path in self.folder.rglob("*.rej")):
            how = "in a .rej file"
        elif kept and unmerged:
            how = "conflict of git"
        elif kept and markers:
            how = "conflict markers"
        elif kept and list(self.folder.rglob("*.rej")):
            how = "kept, the change in a .rej file"
        else:
            return "kept" if kept else "**lost**"
        return f"{how}, exit code {self.status}"


@dataclass(frozen=True)
class Tool:
    name: str
    make: Callable[[Path, Path], Path]
    """A project from the first release."""
    update: Callable[[Path, list[str]], list[str]]
    """The command that takes the last one, with other answers."""


def with_cruft(template: Path, target: Path) -> Path:
    command = ["cruft", "create", "--no-input", "--output-dir", str(target), "--checkout", "v0.1.0"]
    python("-m", *command, template.as_uri(), cwd=target)
    return target / "small"


def with_copier(template: Path, target: Path) -> Path:
    command = ["copier", "copy", "--quiet", "--defaults", "--vcs-ref", "v0.1.0"]
    python(
        "-m", *command, "--data", "color=green", str(template), str(target / "small"), cwd=target
    )
    return target / "small"


TOOLS = [
    Tool(
        "tools/template.py",
        lambda template, target: bake(template, target, {"color": "green"}, "v0.1.0"),
        lambda _, answers: [
            "tools/template.py", "update", *(f"--set={answer}" for answer in answers)
        ],
    ),
    Tool(
        "cruft",
        lambda template, target: _answered(with_cruft(template, target)),
        lambda _, answers: [
            "-m", "cruft", "update", "--skip-apply-ask",
            *(["--variables-to-update", _json(answers)] if answers else []),
        ],
    ),
    Tool(
        "copier",
        with_copier,
        lambda _, answers: [
            "-m", "copier", "update", "--quiet", "--defaults",
            *(f"--data={answer}" for answer in answers),
        ],
    ),
]  # fmt: skip


def _json(answers: list[str]) -> str:
    return json.dumps(dict(answer.split("=") for answer in answers))


def _answered(project: Path) -> Path:
    """The same answer as the others have, as cruft records it."""
    record = project / ".cruft.json"
    text = record.read_text(encoding="utf-8")
    record.write_text(text.replace('"color": "red"', '"color": "green"'), encoding="utf-8")
    (project / "app" / "color.txt").write_text("green\n", encoding="utf-8")
    (project / "app" / "green.txt").write_text("green is here\n", encoding="utf-8")
    return project


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", *arguments],
        capture_output=True,
        check=False,
        cwd=cwd,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
    )


def edit(name: str, line: str) -> Callable[[Path], None]:
    """Change a line of a file."""

    def change(project: Path) -> None:
        path = project / name
        path.write_text(path.read_text(encoding="utf-8").replace(line, f"{MINE}\n"), "utf-8")

    return change


def edit_binary(project: Path) -> None:
    (project / "logo.png").write_bytes(b"\0" + MINE.encode())


def both(project: Path) -> None:
    """Edit a line that changes, and a file that is deleted."""
    edit("app/main.py", "line 5\n")(project)
    edit("app/gone.py", "step 3\n")(project)


def nothing(_project: Path) -> None:
    """No edit."""


CASES: dict[str, tuple[Callable[[Path], None], list[str], Callable[[Found], str]]] = {
    "an edit beside a change": (
        edit("app/main.py", "line 30\n"), [], lambda found: found.fate("app/main.py"),
    ),
    "an edit of a line that changes": (
        edit("app/main.py", "line 5\n"), [], lambda found: found.fate("app/main.py"),
    ),
    "the same, while a file with edits is deleted": (
        both, [], lambda found: found.fate("app/main.py"),
    ),
    "an edit in a file that moves": (
        edit("app/old.py", "row 20\n"), [], lambda found: found.fate("app/new.py", "app/old.py"),
    ),
    "an edit in a file that is deleted": (
        edit("app/gone.py", "step 3\n"), [], lambda found: found.fate("app/gone.py"),
    ),
    "a binary file, changed by both": (
        edit_binary, [], lambda found: found.fate("logo.png"),
    ),
    "a prompt that is called otherwise now": (
        nothing,
        [],
        lambda found: "answer kept" if "green" in found.read("app/color.txt") else "**reset**",
    ),
    "a misspelt prompt": (
        nothing,
        ["colr=red"],
        lambda found: "refused" if found.status and "colr" in found.said else "**ignored**",
    ),
    "which version, when nobody says": (
        nothing,
        [],
        lambda found: (
            "what is not yet released" if (found.folder / "app/next.txt").exists()
            else "the latest release"
        ),
    ),
}  # fmt: skip


def history(folder: Path) -> Train:
    """Two releases, and a change that is in none."""
    train = Train(folder)
    train.release("0.1.0")
    train.write("app/main.py", LINES.replace("line 5\n", "line 5, changed\n"))
    train.move("app/old.py", "app/new.py")
    train.delete("app/gone.py")
    (train.folder / SERVICE / "logo.png").write_bytes(bytes(range(255)))
    del train.context["color"]
    train.context["colour"] = ["red", "green", "blue"]
    train.migrations = [{"version": "0.2.0", "prompts": {"color": "colour"}}]
    train.prompt = "colour"
    train.write("app/color.txt", "{{ cookiecutter.colour }}\n")
    train.release("0.2.0")
    train.write("app/next.txt", "next\n")
    commit(folder)
    return train


def copier_history(folder: Path) -> None:
    """The same, as copier has it."""
    (folder / "app").mkdir(parents=True)

    def write(name: str, text: str) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    write("copier.yml", "color:\n  type: str\n  default: red\n")
    write("{{_copier_conf.answers_file}}.jinja", "{{ _copier_answers|to_nice_yaml }}")
    write("app/main.py", LINES)
    write("app/old.py", OLD)
    write("app/gone.py", "".join(f"step {number}\n" for number in range(20)))
    write("app/color.txt.jinja", "{{ color }}\n")
    (folder / "logo.png").write_bytes(bytes(range(256)))
    commit(folder)
    git(folder, "tag", "v0.1.0")
    write("copier.yml", "colour:\n  type: str\n  default: red\n")
    write("app/main.py", LINES.replace("line 5\n", "line 5, changed\n"))
    (folder / "app" / "old.py").rename(folder / "app" / "new.py")
    (folder / "app" / "gone.py").unlink()
    write("app/color.txt.jinja", "{{ colour }}\n")
    (folder / "logo.png").write_bytes(bytes(range(255)))
    commit(folder)
    git(folder, "tag", "v0.2.0")
    write("app/next.txt", "next\n")
    commit(folder)


def table(where: Path) -> str:
    """What was found, as a table in Markdown."""
    cookiecutter_template, copier_template = where / "template", where / "copier-template"
    history(cookiecutter_template)
    copier_history(copier_template)
    lines = [
        f"| | {' | '.join(tool.name for tool in TOOLS)} |",
        f"| --- |{' --- |' * len(TOOLS)}",
    ]
    for number, (case, (change, answers, judge)) in enumerate(CASES.items()):
        fates = []
        for tool in TOOLS:
            target = where / f"{number}-{tool.name.partition('/')[0]}"
            target.mkdir()
            template = copier_template if tool.name == "copier" else cookiecutter_template
            project = tool.make(template, target)
            commit(project)
            change(project)
            commit(project)
            ended = python(*tool.update(project, answers), cwd=project)
            fates.append(judge(Found(project, ended.returncode, ended.stdout + ended.stderr)))
        lines.append(f"| {case} | {' | '.join(fates)} |")
    return "\n".join(lines)


def main() -> None:
    where = Path(tempfile.mkdtemp(prefix="compared-"))
    try:
        found = table(where)
    finally:
        shutil.rmtree(where)
    page = ROOT / "docs" / "updates.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n\n{found}\n\n{END}{after}", encoding="utf-8")
    print(found)  # noqa: T201


if __name__ == "__main__":
    main()
