"""`docs/guidelines.md` names files and tests that are there."""

import ast
import re
from pathlib import Path

import pytest
from choices import ROOT

TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
ROW = re.compile(r"^\| ([A-Z]\d+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def missing(document: str, *roots: Path) -> list[str]:
    """What the table names and none of `roots` has."""
    names = []
    for row, files, tests in ROW.findall(document):
        paths = re.findall(r"`([^`]+)`", files)
        names += [
            f"{row}: {path}" for path in paths if not any((root / path).exists() for root in roots)
        ]
        named = re.findall(r"`([^`]+)`", tests)
        if not named:
            names.append(f"{row}: a test")
        names += [
            f"{row}: {test}" for test in named if not any(has_test(root, test) for root in roots)
        ]
    return names


def has_test(root: Path, test: str) -> bool:
    """Whether `tests/file.py::Class::test` or any shorter form of it is there."""
    path, *scopes = test.split("::")
    if not (root / path).is_file():
        return False
    body: list[ast.stmt] = ast.parse((root / path).read_text(encoding="utf-8")).body
    for scope in scopes:
        found = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == scope
        ]
        if not found:
            return False
        body = found[0].body
    return True


class TestTable:
    def test_files_and_tests_are_there(self) -> None:
        """A renamed test or file takes its row along."""
        document = (ROOT / "docs" / "guidelines.md").read_text(encoding="utf-8")
        assert ROW.findall(document)
        assert missing(document, TEMPLATE, ROOT) == []

    @pytest.mark.parametrize(
        "line",
        [
            "| A1 | never block | `app/gone.py` | `tests/test_x.py` |",
            "| A1 | never block | `app/x.py` | `tests/test_gone.py` |",
            "| A1 | never block | `app/x.py` | `tests/test_x.py::TestX::test_gone` |",
            "| A1 | never block | `app/x.py` | by hand |",
        ],
    )
    def test_what_is_gone_is_noticed(self, tmp_path: Path, line: str) -> None:
        """A file, a test, or no test at all."""
        for name in ("app", "tests"):
            (tmp_path / name).mkdir()
        (tmp_path / "app" / "x.py").write_text("")
        (tmp_path / "tests" / "test_x.py").write_text(
            "class TestX:\n    def test_it(self) -> None: ...\n"
        )
        good = "| A1 | never block | `app/x.py` | `tests/test_x.py::TestX::test_it` |"
        assert missing(good, tmp_path) == []
        assert len(missing(line, tmp_path)) == 1
