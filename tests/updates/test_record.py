"""However a project is made, it knows where it comes from, if somebody can come back there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from history import Project, Train, bake, commit, git, started

CLEAN = {"project_slug": "small", "color": "red", "greeting": "hello"}


@pytest.fixture
def train(tmp_path: Path) -> Train:
    train = Train(tmp_path / "template")
    train.release("0.1.0")
    return train


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / ".cruft.json").read_text(encoding="utf-8"))
    return found


def cookiecutter(where: Path, *arguments: str) -> None:
    """As somebody runs it in a terminal."""
    own = where / "own.yaml"
    own.write_text(f"cookiecutters_dir: {where}\nreplay_dir: {where}\n", encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "cookiecutter", "--config-file", own, "--no-input", *arguments],
        check=True,
        capture_output=True,
        cwd=where,
        env={"PWD": str(where), "PATH": "/usr/bin:/bin"},
    )


class TestClone:
    def test_url(self, train: Train, tmp_path: Path) -> None:
        """The URL, the commit, what was checked out, and every answer."""
        project = bake(train.folder, tmp_path / "a", {}, "v0.1.0")
        assert record(project) == {
            "template": train.folder.as_uri(),
            "commit": git(train.folder, "rev-parse", "HEAD"),
            "checkout": "v0.1.0",
            "context": {"cookiecutter": {**CLEAN, "_template": train.folder.as_uri()}},
            "directory": None,
        }

    def test_path_relative_to_the_caller(self, train: Train, tmp_path: Path) -> None:
        cookiecutter(tmp_path, "template")
        assert record(tmp_path / "small")["template"] == str(train.folder)

    @pytest.mark.parametrize(
        ("origin", "recorded"),
        [
            ("https://user:secret@example.com/a/b.git", "https://example.com/a/b.git"),
            ("https://token@example.com/a/b.git", "https://example.com/a/b.git"),
            ("git@example.com:a/b.git", "git@example.com:a/b.git"),
        ],
    )
    def test_clone_of_another(
        self, train: Train, tmp_path: Path, origin: str, recorded: str
    ) -> None:
        """Its origin, without a password, when that has the commit; else the clone itself."""
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", str(train.folder), str(clone))
        git(clone, "remote", "set-url", "origin", origin)
        assert record(bake(clone, tmp_path / "a", {}))["template"] == recorded
        (clone / "new.txt").touch()
        commit(clone)
        assert record(bake(clone, tmp_path / "b", {}))["template"] == str(clone)

    def test_directory(self, train: Train, tmp_path: Path) -> None:
        """A template in a folder of its repository; updates find it there."""
        (tmp_path / "all").mkdir()
        shutil.rmtree(train.folder / ".git")
        train.folder.rename(tmp_path / "all" / "inner")
        commit(tmp_path / "all")
        project = started(tmp_path / "all" / "inner", tmp_path / "a")
        assert project.record["template"] == str(tmp_path / "all")
        assert project.record["directory"] == "inner"
        project.tool("update", "--set", "color=green")
        assert project.read("app/green.txt") == "green is here\n"


class TestNothing:
    def test_changes_without_a_commit(self, train: Train, tmp_path: Path) -> None:
        """The tool says how to link it, and that helps."""
        (train.folder / "new.txt").touch()
        project = started(train.folder, tmp_path / "a")
        assert not (project.folder / ".cruft.json").exists()
        ended = project.tool("update", status=1)
        assert "link URL --commit COMMIT records it" in ended.said
        said = project.tool("link", str(train.folder), "--set", "color=red").said
        assert "these answers: 0." in said
        commit(project.folder)
        project.tool("update", "--set", "color=green")

    def test_within_the_clone(self, train: Train, capfd: pytest.CaptureFixture[str]) -> None:
        """Which is said, with what can be done about it."""
        (train.folder / ".gitignore").write_text("/tries/\n", encoding="utf-8")
        commit(train.folder)
        project = bake(train.folder, train.folder / "tries", {})
        assert not (project / ".cruft.json").exists()
        assert "tools/template.py link URL" in capfd.readouterr().err

    def test_ignored_by_the_repository_around_it(self, train: Train) -> None:
        """What git ignores it cannot bring back: nothing is recorded, told or merged there."""
        (train.folder / ".gitignore").write_text("/tries/\n", encoding="utf-8")
        commit(train.folder)
        project = Project(bake(train.folder, train.folder / "tries", {}))
        for command in (["link", str(train.folder)], ["status"], ["update"]):
            ended = project.tool(*command, status=1)
            assert "does not hold it: move the project out of there" in ended.said
        assert not (project.folder / ".cruft.json").exists()

    def test_folder_without_history(self, train: Train, tmp_path: Path) -> None:
        shutil.rmtree(train.folder / ".git")
        assert not (bake(train.folder, tmp_path / "a", {}) / ".cruft.json").exists()

    def test_other_repository_around_it(self, train: Train, tmp_path: Path) -> None:
        """A home that is kept in git, say, knows nothing of the template."""
        shutil.rmtree(train.folder / ".git")
        (tmp_path / ".gitignore").write_text("*\n", encoding="utf-8")
        commit(tmp_path)
        assert not (bake(train.folder, tmp_path / "a", {}) / ".cruft.json").exists()


class TestOthers:
    def test_archive(self, train: Train, tmp_path: Path) -> None:
        """The tag of the release that it holds; `link` says where the repository is."""
        made = tmp_path / "template-0.1.0.zip"
        git(train.folder, "archive", "--prefix", "template-0.1.0/", "--output", str(made), "HEAD")
        cookiecutter(tmp_path, made.name)
        project = Project(tmp_path / "small")
        assert (project.record["template"], project.record["commit"]) == (made.name, "v0.1.0")
        commit(project.folder)
        assert "link URL" in project.tool("status", status=1).said
        project.tool("link", str(train.folder))
        assert project.record["commit"] == git(train.folder, "rev-parse", "v0.1.0")

    def test_cruft(self, train: Train, tmp_path: Path) -> None:
        """Its own record stays, and the tool reads it."""
        subprocess.run(
            [sys.executable, "-m", "cruft", "create", "--no-input", "--output-dir", tmp_path,
             "--checkout", "v0.1.0", train.folder.as_uri()],
            check=True,
            capture_output=True,
            cwd=tmp_path,
        )  # fmt: skip
        project = Project(tmp_path / "small")
        commit(project.folder)
        project.tool("update", "--set", "color=green")
        assert project.record["context"]["cookiecutter"]["color"] == "green"
