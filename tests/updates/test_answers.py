"""Another answer, taken by the tool, leaves what a bake with that answer would have left."""

from collections.abc import Iterator
from itertools import pairwise, permutations
from pathlib import Path

import pytest
from choices import CHOICES
from history import Project, Tree, bake, commit, git, released, started, tree

# Of the pairs of values, in a run that is not asked for all of them.
STRIDE = 4


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return released(tmp_path_factory.mktemp("template"))


def steps(values: list[str]) -> list[str]:
    """The values after the first of a walk that goes from each to each other once (Hierholzer)."""
    ways = {value: [other for other in values if other != value] for value in values}
    path, walk = [values[0]], []
    while path:
        if ways[path[-1]]:
            path.append(ways[path[-1]].pop())
        else:
            walk.append(path.pop())
    return walk[-2::-1]


@pytest.mark.parametrize("values", CHOICES.values(), ids=CHOICES.keys())
def test_every_pair_is_walked(values: list[str]) -> None:
    """And none twice."""
    pairs = list(pairwise([values[0], *steps(values)]))
    assert sorted(pairs) == sorted(permutations(values, 2))


@pytest.mark.parametrize("prompt", CHOICES)
def test_from_each_value_to_each(
    template: Path, tmp_path: Path, pytestconfig: pytest.Config, prompt: str
) -> None:
    """The tree is that of a bake with the answer, the record of where it comes from included."""
    values = CHOICES[prompt]
    baked: dict[str, Tree] = {}

    def of_bake(value: str) -> Tree:
        if value not in baked:
            baked[value] = tree(bake(template, tmp_path / f"{len(baked)}", {prompt: value}))
        return baked[value]

    project = started(template, tmp_path / "project")
    full = pytestconfig.getoption("pairwise") == "full"
    walk = steps(values) if full or len(values) <= STRIDE - 1 else steps(values)[::STRIDE]
    for value in _without_pauses(values[0], walk):
        project.tool("update", "--set", f"{prompt}={value}")
        assert project.tree == of_bake(value)
        assert git(project.folder, "diff", "--name-only") == ""
        commit(project.folder)


def _without_pauses(first: str, walk: list[str]) -> Iterator[str]:
    """The steps of a walk that go somewhere."""
    here = first
    for value in walk:
        if value != here:
            here = value
            yield value


class TestRefusals:
    @pytest.fixture
    def project(self, template: Path, tmp_path: Path) -> Project:
        return started(template, tmp_path)

    @pytest.mark.parametrize(
        ("setting", "said"),
        [
            ("cache=redis", "no prompt cache: did you mean cache_backend?"),
            ("cache_backend=rediss", "cannot be rediss: did you mean redis or tiered?"),
            ("license=x", "license cannot be x: there are MIT, Apache-2.0, Proprietary."),
            ("cache_backend", "write --set prompt=value"),
            ("project_slug=Not good", "project_slug"),
        ],
    )
    def test_answer(self, project: Project, setting: str, said: str) -> None:
        """In one sentence, with what may have been meant; nothing has changed."""
        before = project.tree
        ended = project.tool("update", "--set", setting, status=1)
        assert said in ended.said
        assert len(ended.said.strip().splitlines()) == 1
        assert project.tree == before

    def test_changes_without_a_commit(self, project: Project) -> None:
        project.write("README.md", "Mine.\n")
        project.write("notes.txt", "Mine.\n")
        ended = project.tool("update", "--set", "cache_backend=none", status=1)
        assert "changes that no commit holds (README.md, notes.txt): commit" in ended.said
        assert git(project.folder, "status", "--porcelain").split() == [
            "M", "README.md", "??", "notes.txt",
        ]  # fmt: skip

    def test_no_repository(self, template: Path, tmp_path: Path) -> None:
        project = Project(bake(template, tmp_path, {}))
        assert "git init" in project.tool("status", status=1).said

    def test_template_that_has_moved(self, project: Project, template: Path) -> None:
        """It is told with the command that helps, which helps."""
        answers = project.record["context"]["cookiecutter"]
        project.write(".cruft.json", project.read(".cruft.json").replace(str(template), "/gone"))
        commit(project.folder)
        ended = project.tool("status", status=1)
        assert "/gone cannot be cloned" in ended.said
        assert "link URL" in ended.said
        project.tool("link", str(template))
        assert project.record["context"]["cookiecutter"] == answers

    def test_revisions_that_go(self, project: Project) -> None:
        """A database that has them is refused afterwards: it is told how to undo them, in order."""
        said = project.tool("update", "--set", "task_queue=none", "--dry-run").said
        undone = [line.split("--undo ")[1].split("`")[0] for line in said.splitlines()[:2]]
        assert undone == ["tasks_0001", "catalog_0002"]

    def test_dry_run(self, project: Project) -> None:
        before = project.tree
        said = project.tool("update", "--set", "cache_backend=redis", "--dry-run").said
        assert "A\tapp/infra/cache/redis.py" in said
        assert project.tree == before
        assert git(project.folder, "status", "--porcelain") == ""


class TestDiff:
    def test_own_changes(self, template: Path, tmp_path: Path) -> None:
        """Those of the project alone, committed or not."""
        project = started(template, tmp_path)
        assert project.tool("diff").said == ""
        # Of the project alone from the start on.
        project.write("uv.lock", "version = 1\n")
        git(project.folder, "add", "uv.lock")
        project.write("app/about.toml", project.read("app/about.toml") + "# mine\n")
        said = project.tool("diff").said
        assert "+# mine" in said
        assert said.count("diff --git") == 1


class TestDamagedRecord:
    @pytest.mark.parametrize(
        "text", ["{", "[]", '{"template": 5}', '{"template": "", "commit": ""}']
    )
    def test_is_refused(self, template: Path, tmp_path: Path, text: str) -> None:
        """Whatever stands there, with what mends it."""
        project = started(template, tmp_path)
        project.write(".cruft.json", text)
        assert "restore it from git" in project.tool("status", status=1).said
