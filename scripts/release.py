"""Release the template: `uv run python scripts/release.py 1.2.0`, then `git push --follow-tags`.

The version stands in `cookiecutter.json` alone. What is unreleased in the changelog becomes the
release, which needs a part "Upgrading"; a prompt or value that is gone needs a row in
`migrations.json`, or those who answered it could not update.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UNRELEASED = "## [Unreleased]\n"
UPGRADING = "### Upgrading"

_NUMBER = re.compile(r"\d+\.\d+\.\d+")


def broken(
    before: Mapping[str, Any], now: Mapping[str, Any], migrations: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """What somebody could answer `before`, and nobody says what has become of it `now`."""
    prompts = {prompt for row in migrations for prompt in row.get("prompts", {})}
    for prompt, values in before.items():
        if prompt.startswith("_") or prompt in prompts:
            continue
        if prompt not in now:
            yield f"prompt {prompt}"
        elif isinstance(values, list):
            known = {value for row in migrations for value in row.get("values", {}).get(prompt, {})}
            for value in values:
                if value not in known and value not in now[prompt]:
                    yield f"{prompt}={value}"


def last_release(root: Path) -> str | None:
    """The tag of the last release before what is here; None before the first."""
    told = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"],
        cwd=root,
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    return told.stdout.strip() or None


def faults(root: Path) -> Iterator[str]:
    """Why what is here must not be released, a sentence each."""
    now = json.loads((root / "cookiecutter.json").read_text(encoding="utf-8"))
    migrations = json.loads((root / "migrations.json").read_text(encoding="utf-8"))
    if tag := last_release(root):
        shown = _git(root, "show", f"{tag}:cookiecutter.json")
        for gone in broken(json.loads(shown), now, migrations):
            yield f"{gone} is gone since {tag}: add a row to migrations.json."
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    for part in re.split(r"^(?=## )", changelog, flags=re.MULTILINE)[1:]:
        if not part.startswith(UNRELEASED) and UPGRADING not in part:
            yield f"{part.splitlines()[0]} has no part {UPGRADING!r}: say what one has to do."
    released = re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    if released and released[1] != now["_version"]:
        yield f"The changelog has {released[1]}, not {now['_version']}: make them one."


def release(root: Path, number: str) -> None:
    """Commit and tag what is here as the release `number`."""
    if not _NUMBER.fullmatch(number):
        sys.exit(f"{number} is no version: write three numbers, like 1.2.0.")
    if _git(root, "status", "--porcelain"):
        sys.exit("There are changes that no commit holds: commit them first.")
    changelog = root / "CHANGELOG.md"
    today = datetime.now(UTC).date().isoformat()
    text = changelog.read_text(encoding="utf-8")
    heading = f"{UNRELEASED}\n## [{number}] - {today}\n"
    changelog.write_text(text.replace(UNRELEASED, heading, 1), encoding="utf-8")
    questions = root / "cookiecutter.json"
    text = questions.read_text(encoding="utf-8")
    text = re.sub(r'("_version": )"[^"]*"', rf'\1"{number}"', text)
    questions.write_text(text, encoding="utf-8")
    if found := list(faults(root)):
        _git(root, "checkout", "--", ".")
        sys.exit("\n".join(found))
    _git(root, "commit", "--all", "--message", f"Release {number}")
    _git(root, "tag", "--annotate", "--message", f"Release {number}", f"v{number}")


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, check=True, encoding="utf-8"
    ).stdout.strip()


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if complaints := list(faults(ROOT)):
            sys.exit("\n".join(complaints))
        print(f"Nothing is in the way of a release after {last_release(ROOT) or 'none so far'}.")
    elif len(sys.argv) == 2:
        release(ROOT, sys.argv[1])
    else:
        sys.exit("Name the version: uv run python scripts/release.py 1.2.0, or --check.")
