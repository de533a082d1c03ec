"""Law 2: Python files with a condition are the composition root, the settings, and two tests."""

import re
from pathlib import Path

from project import python_files
from template import SERVICE

WIRING = {"app/bootstrap.py", "app/settings.py"}
TESTS = 2
TAG = re.compile(r"\{%|\{#|\{\{\s*cookiecutter")


def tagged(folder: Path) -> set[str]:
    """Python files that hold any Jinja."""
    return {
        path.relative_to(folder).as_posix()
        for path in python_files(folder)
        if TAG.search(path.read_text(encoding="utf-8"))
    }


def misplaced(folder: Path) -> set[str]:
    """Of these, the ones that should be whole files instead, kept or deleted by the hook."""
    elsewhere = tagged(folder) - WIRING
    in_tests = {path for path in elsewhere if path.startswith("tests/")}
    return elsewhere - in_tests if len(in_tests) <= TESTS else elsewhere


class TestTemplate:
    def test_conditions_stand_in_the_named_files(self, template: Path) -> None:
        """At most four files in all."""
        assert not misplaced(template / SERVICE)


class TestCaught:
    def test_condition_elsewhere(self, tmp_path: Path) -> None:
        """A condition in a room is named."""
        for path in (*WIRING, "app/main.py", "tests/conftest.py"):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text("# {% if x %}\n# {% endif %}\n", encoding="utf-8")
        assert misplaced(tmp_path) == {"app/main.py"}

    def test_third_test(self, tmp_path: Path) -> None:
        """Two tests may hold one, three may not."""
        (tmp_path / "tests").mkdir()
        for number in range(3):
            path = tmp_path / "tests" / f"test_{number}.py"
            path.write_text('name = "{{ cookiecutter.project_slug }}"\n', encoding="utf-8")
        assert len(misplaced(tmp_path)) == 3
