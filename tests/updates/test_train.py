"""Releases that change whatever a template can change, taken one by one or at once."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from history import LINES, OLD, Project, Train, bake, commit, git, started, tree

RELEASES = ["0.1.0", "0.2.0", "0.3.0", "1.0.0"]
ANSWERS = {"color": "green", "greeting": "servus"}
LATER = {"colour": "lime", "greeting": "servus"}


def changed(text: str, number: int) -> str:
    """The lines, of which one is another."""
    return text.replace(f"line {number}\n", f"line {number}, changed\n")


def answers_at(release: str) -> dict[str, str]:
    """The same answers, as a release has them."""
    return ANSWERS if release < "0.3.0" else LATER


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Four releases."""
    train = Train(tmp_path_factory.mktemp("template"))
    train.release("0.1.0")
    # A text is edited, a file moved, another deleted, a binary changed.
    train.write("app/main.py", changed(train.read("app/main.py"), 5))
    train.move("app/old.py", "app/new.py")
    train.delete("app/gone.py")
    (train.folder / "{{cookiecutter.project_slug}}" / "logo.png").write_bytes(bytes(range(255)))
    train.release("0.2.0", "A logo of 255 bytes.")
    # A prompt is new, another is called otherwise, and so is a value; a pruned file changes.
    train.context = {
        "project_slug": "small",
        "colour": ["red", "lime", "blue"],
        "greeting": "hello",
        "size": ["small", "large"],
        "_version": "",
    }
    train.pruned = {"app/green.txt": "lime"}
    train.migrations = [
        {
            "version": "0.3.0",
            "prompts": {"color": "colour"},
            "values": {"colour": {"green": "lime"}},
        }
    ]
    train.write("app/color.txt", "{{ cookiecutter.colour }}, {{ cookiecutter.size }}\n")
    train.write("app/green.txt", "lime is here\n")
    train.prompt = "colour"
    train.release("0.3.0", "colour is the name of color.")
    # A value is gone, and the hook prunes something else too.
    train.context["colour"] = ["red", "lime"]
    train.migrations.append({"version": "1.0.0", "values": {"colour": {"blue": None}}})
    train.pruned["app/main.py"] = "lime"
    train.release("1.0.0", "No blue.")
    git(train.folder, "tag", "v2.0.0rc1")
    return train


def edited(train: Train, target: Path, checkout: str) -> Project:
    """A project whose owner has worked on it."""
    project = started(train.folder, target, answers_at(checkout[1:]), checkout)
    project.write("app/main.py", changed(project.read("app/main.py"), 30))
    project.write("app/mine.py", "mine\n")
    moved = "app/old.py" if (project.folder / "app/old.py").exists() else "app/new.py"
    project.write(moved, changed(project.read(moved), 20))
    project.write("README.md", "My own words.\n")
    commit(project.folder, "Work")
    return project


class TestTrain:
    @pytest.mark.parametrize("start", RELEASES[:-1])
    def test_at_once_or_step_by_step(self, train: Train, tmp_path: Path, start: str) -> None:
        """The same comes out, and on a project without edits it is what a bake makes."""
        direct, stepwise = (
            started(train.folder, tmp_path / name, answers_at(start), f"v{start}")
            for name in ("a", "b")
        )
        said = direct.tool("update").said
        for number in RELEASES[RELEASES.index(start) + 1 :]:
            stepwise.tool("update", "--to", f"v{number}")
            commit(stepwise.folder)
        assert direct.tree == stepwise.tree
        assert "older" not in said
        baked = tree(bake(train.folder, tmp_path / "c", LATER, "v1.0.0"))
        assert direct.record["context"]["cookiecutter"]["size"] == "small"
        # How it was checked out is another story.
        assert {**direct.tree, ".cruft.json": b""} == {**baked, ".cruft.json": b""}
        if start != "0.3.0":
            assert "color is called colour now." in said
            assert "colour: green is lime now." in said
            assert "New: size is small." in said

    @pytest.mark.parametrize("start", RELEASES[:-1])
    def test_with_edits(self, train: Train, tmp_path: Path, start: str) -> None:
        """All of them survive, also in a file that has moved."""
        direct, stepwise = (edited(train, tmp_path / name, f"v{start}") for name in ("a", "b"))
        direct.tool("update")
        for number in RELEASES[RELEASES.index(start) + 1 :]:
            stepwise.tool("update", "--to", f"v{number}")
            commit(stepwise.folder)
        assert direct.tree == stepwise.tree
        assert direct.read("app/main.py") == changed(changed(LINES, 5), 30)
        assert direct.read("app/new.py") == changed(OLD, 20)
        assert not (direct.folder / "app/old.py").exists()
        assert direct.read("app/mine.py") == "mine\n"
        assert direct.read("README.md") == "My own words.\n"

    def test_no_release_before_its_time(self, train: Train, tmp_path: Path) -> None:
        """Neither what only comes before a release, nor what is older than the project."""
        project = started(train.folder, tmp_path, {}, "v1.0.0")
        assert "Nothing to do" in project.tool("update").said
        assert "no newer release" in project.tool("status").said

    def test_status(self, train: Train, tmp_path: Path) -> None:
        """What is new, from the changelog, and where it would conflict."""
        project = started(train.folder, tmp_path, {}, "v0.1.0")
        project.write("app/gone.py", "mine\n")
        commit(project.folder)
        said = project.tool("status").said
        assert "has version 0.1.0" in said
        assert "v0.2.0, v0.3.0, v1.0.0" in said
        assert "A logo of 255 bytes." in said
        assert "Something." not in said
        assert "Conflicts to expect in:\n  app/gone.py" in said

    def test_value_that_is_gone(self, train: Train, tmp_path: Path) -> None:
        """Somebody has to choose."""
        project = started(train.folder, tmp_path, {"color": "blue"}, "v0.1.0")
        before = project.tree
        ended = project.tool("update", status=1)
        assert "colour can be blue no more: choose with --set colour=" in ended.said
        assert project.tree == before
        project.tool("update", "--set", "colour=red")
        assert project.record["context"]["cookiecutter"]["colour"] == "red"

    def test_twice(self, train: Train, tmp_path: Path) -> None:
        """The second time there is nothing to do."""
        project = started(train.folder, tmp_path, ANSWERS, "v0.1.0")
        project.tool("update")
        commit(project.folder)
        before = project.tree
        assert "Nothing to do" in project.tool("update").said
        assert project.tree == before

    def test_back(self, train: Train, tmp_path: Path) -> None:
        """To what is older goes who says so, and is told; what was baked then comes out."""
        project = started(train.folder, tmp_path / "a", {}, "v1.0.0")
        said = project.tool("update", "--to", "v0.3.0").said
        assert re.search(r"(?m)^Version 0\.3\.0 \(\w{10}\) is older: this goes back\.$", said)
        baked = tree(bake(train.folder, tmp_path / "b", {}, "v0.3.0"))
        assert {**project.tree, ".cruft.json": b""} == {**baked, ".cruft.json": b""}

    def test_tag_that_is_missing(self, train: Train, tmp_path: Path) -> None:
        project = started(train.folder, tmp_path, ANSWERS, "v0.1.0")
        assert "has no v9: name a tag" in project.tool("update", "--to", "v9", status=1).said


class TestConflicts:
    def test_lines(self, train: Train, tmp_path: Path) -> None:
        """Are git's own: markers, git status, the exit code; and there is a way back."""
        project = started(train.folder, tmp_path, ANSWERS, "v0.1.0")
        project.write("app/main.py", LINES.replace("line 5\n", "my line 5\n"))
        commit(project.folder)
        before = project.tree
        said = project.tool("update", status=1).said
        assert "Conflicts:\n  app/main.py" in said
        assert "git reset --hard" in said
        text = project.read("app/main.py")
        assert text.index("<<<<<<<") < text.index("my line 5") < text.index("line 5, changed")
        assert "UU app/main.py" in git(project.folder, "status", "--porcelain")
        git(project.folder, "reset", "--hard")
        assert project.tree == before
        assert git(project.folder, "status", "--porcelain") == ""

    def test_edited_file_that_is_deleted(self, train: Train, tmp_path: Path) -> None:
        """It stays, as a conflict."""
        project = started(train.folder, tmp_path, ANSWERS, "v0.1.0")
        project.write("app/gone.py", "mine\n")
        commit(project.folder)
        said = project.tool("update", status=1).said
        assert "Conflicts:\n  app/gone.py" in said
        assert project.read("app/gone.py") == "mine\n"
        assert "UD app/gone.py" in git(project.folder, "status", "--porcelain")

    def test_binary(self, train: Train, tmp_path: Path) -> None:
        """The project's own stays, as a conflict."""
        project = started(train.folder, tmp_path, ANSWERS, "v0.1.0")
        (project.folder / "logo.png").write_bytes(b"\0mine")
        commit(project.folder)
        assert "Conflicts:\n  logo.png" in project.tool("update", status=1).said
        assert (project.folder / "logo.png").read_bytes() == b"\0mine"


class TestPlaces:
    def test_part_of_a_repository(self, train: Train, tmp_path: Path) -> None:
        """A project in a folder of a larger repository; the rest of it is left alone."""
        (tmp_path / "all").mkdir()
        (tmp_path / "all" / "other.txt").write_text("other\n", encoding="utf-8")
        project = Project(bake(train.folder, tmp_path / "all" / "services", ANSWERS, "v0.1.0"))
        commit(tmp_path / "all")
        project.write("app/old.py", changed(OLD, 20))
        commit(tmp_path / "all")
        project.tool("update")
        assert project.read("app/new.py") == changed(OLD, 20)
        assert git(tmp_path / "all", "status", "--porcelain", "other.txt") == ""
        commit(tmp_path / "all")
        assert "+line 20, changed" in project.tool("diff").said

    def test_called_from_a_hook(
        self, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Variables that git has set are about another repository."""
        project = started(train.folder, tmp_path, ANSWERS, "v0.1.0")
        monkeypatch.setenv("GIT_DIR", "/gone")
        monkeypatch.setenv("GIT_INDEX_FILE", "/gone/index")
        project.tool("update")
        assert project.record["commit"] == git(train.folder, "rev-parse", "v1.0.0")

    def test_files_of_the_owner(self, train: Train, tmp_path: Path) -> None:
        """Are not touched, whatever the template brings."""
        project = started(train.folder, tmp_path, ANSWERS, "v0.1.0")
        project.write(".gitignore", ".env\n")
        commit(project.folder)
        project.write(".env", "SECRET=mine\n")
        project.tool("update")
        assert project.read(".env") == "SECRET=mine\n"


class TestKilled:
    @pytest.mark.parametrize("moment", range(6))
    def test_in_the_middle(self, train: Train, tmp_path: Path, moment: int) -> None:
        """All of the update is there, or none of it; and the next one goes well."""
        project = started(train.folder, tmp_path / "a", ANSWERS, "v0.1.0")
        whole = started(train.folder, tmp_path / "b", ANSWERS, "v0.1.0")
        whole.tool("update")
        before = project.tree
        process = subprocess.Popen(
            [sys.executable, "-B", "tools/template.py", "update"],
            cwd=project.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Wherever it is then, the same holds.
        with_time = time.monotonic() + moment * 0.4
        while process.poll() is None and time.monotonic() < with_time:
            time.sleep(0.01)
        process.kill()
        process.wait()
        _wait_for_git(project.folder)
        assert project.tree in (before, whole.tree)
        git(project.folder, "reset", "--hard")
        assert project.tree == before
        project.tool("update")
        assert project.tree == whole.tree


def _wait_for_git(folder: Path) -> None:
    """A git that was started goes on to its end."""
    while (folder / ".git" / "index.lock").exists():
        time.sleep(0.01)


class TestCruft:
    """It reads and writes the same record."""

    def cruft(self, project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(
            [sys.executable, "-m", "cruft", *arguments],
            capture_output=True,
            check=False,
            cwd=project.folder,
            encoding="utf-8",
            env=clean,
        )

    def test_check_diff_and_update(self, train: Train, tmp_path: Path) -> None:
        project = started(train.folder, tmp_path / "a", ANSWERS, "v0.1.0")
        assert self.cruft(project, "check", "--checkout", "v0.1.0").returncode == 0
        assert self.cruft(project, "check", "--checkout", "v0.2.0").returncode == 1
        project.write("app/main.py", changed(LINES, 30))
        commit(project.folder)
        # It tells what would take the changes back.
        assert "-line 30, changed" in self.cruft(project, "diff").stdout
        ended = self.cruft(project, "update", "--skip-apply-ask", "--checkout", "v0.2.0")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert project.read("app/main.py") == changed(changed(LINES, 5), 30)
        assert project.record["commit"] == git(train.folder, "rev-parse", "v0.2.0")
        commit(project.folder)
        project.tool("update")
        assert project.record["commit"] == git(train.folder, "rev-parse", "v1.0.0")


def test_git_that_knows_nobody(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool makes commits, on no branch, of nobody's."""
    project = started(train.folder, tmp_path, ANSWERS, "v0.1.0")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    project.tool("update")


def test_program_of_the_target(tmp_path: Path) -> None:
    """The new version's does the work, its exit code included, and is there afterwards."""
    train = Train(tmp_path / "template")
    train.release("0.1.0")
    program = train.read("tools/template.py")
    train.write("tools/template.py", program.replace("Merged version", "The new one merged"))
    train.write("app/main.py", changed(LINES, 5))
    train.release("0.2.0")
    project = started(train.folder, tmp_path / "a", {}, "v0.1.0")
    assert "The new one merged" in project.tool("update", "--set", "color=blue").said
    assert project.read("app/color.txt") == "blue\n"
    assert "The new one merged" in project.read("tools/template.py")
    other = started(train.folder, tmp_path / "b", {}, "v0.1.0")
    other.write("app/main.py", LINES.replace("line 5\n", "mine\n"))
    commit(other.folder)
    assert "app/main.py" in other.tool("update", status=1).said
