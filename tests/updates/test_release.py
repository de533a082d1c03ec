"""What a release needs, and what making one does."""

import json
from pathlib import Path
from typing import Any

import pytest
import release
from choices import ROOT
from history import commit, git

BEFORE = {"color": ["red", "green"], "name": "x", "_private": "y"}


def test_nothing_is_in_the_way() -> None:
    """Of a release of what is here."""
    assert list(release.faults(ROOT)) == []


@pytest.mark.parametrize(
    ("now", "migrations", "said"),
    [
        ({"color": ["red", "green", "blue"], "name": "x", "new": "z"}, [], []),
        ({"color": ["red", "green"]}, [], ["prompt name"]),
        ({"color": ["red"], "name": "x"}, [], ["color=green"]),
        ({"color": ["red"], "name": "x"}, [{"values": {"color": {"green": "red"}}}], []),
        ({"color": ["red"], "name": "x"}, [{"values": {"color": {"green": None}}}], []),
        ({"color": ["red", "green"], "title": "x"}, [{"prompts": {"name": "title"}}], []),
        ({"color": ["red", "green"]}, [{"prompts": {"name": None}}], []),
    ],
)
def test_what_is_gone(
    now: dict[str, Any], migrations: list[dict[str, Any]], said: list[str]
) -> None:
    """Unless a row says what has become of it."""
    assert list(release.broken(BEFORE, now, migrations)) == said


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """One that has released once."""
    questions = {**BEFORE, "_version": "0.1.0"}
    (tmp_path / "cookiecutter.json").write_text(json.dumps(questions), encoding="utf-8")
    (tmp_path / "migrations.json").write_text("[]", encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n### Upgrading\n\nNothing.\n\n"
        "## [0.1.0] - 2026-01-01\n\n### Upgrading\n\nNothing.\n",
        encoding="utf-8",
    )
    commit(tmp_path)
    git(tmp_path, "tag", "v0.1.0")
    git(tmp_path, "config", "user.name", "Somebody")
    git(tmp_path, "config", "user.email", "somebody@example.com")
    return tmp_path


def test_release(template: Path) -> None:
    """The version, the changelog, a commit and a tag."""
    release.release(template, "0.2.0")
    assert json.loads((template / "cookiecutter.json").read_text())["_version"] == "0.2.0"
    changelog = (template / "CHANGELOG.md").read_text(encoding="utf-8")
    assert changelog.index("[Unreleased]") < changelog.index("[0.2.0] - 20")
    assert changelog.index("[0.2.0]") < changelog.index("Nothing.")
    assert git(template, "rev-parse", "v0.2.0^0") == git(template, "rev-parse", "HEAD")
    assert git(template, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("number", "change", "said"),
    [
        ("0.2", {}, "is no version"),
        ("0.2.0", {"CHANGELOG.md": "## [Unreleased]\n\nSomething.\n"}, "no part '### Upgrading'"),
        (
            "0.2.0",
            {"cookiecutter.json": '{"color": ["red"], "name": "x", "_version": "0.1.0"}'},
            "color=green is gone since v0.1.0: add a row to migrations.json",
        ),
    ],
)
def test_refusal(template: Path, number: str, change: dict[str, str], said: str) -> None:
    """In a sentence; nothing is left of the try."""
    for name, text in change.items():
        (template / name).write_text(text, encoding="utf-8")
    head = commit(template)
    with pytest.raises(SystemExit, match=said):
        release.release(template, number)
    assert git(template, "rev-parse", "HEAD") == head
    assert git(template, "status", "--porcelain") == ""
