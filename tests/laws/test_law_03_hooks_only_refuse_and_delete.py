"""Law 3: hooks refuse and delete; the table is true, and baking twice gives the same bytes."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from choices import ROOT, Answers, combinations, corner, each
from conftest import Bake
from pytest_cookies.plugin import Cookies
from template import SERVICE, hook

HOOKS = sorted((ROOT / "hooks").glob("*.py"))
# Standard, but these make a bake depend on more than the answers, or do more than delete.
FORBIDDEN = {
    "asyncio", "datetime", "ftplib", "getpass", "http", "platform", "random", "secrets", "smtplib",
    "socket", "ssl", "subprocess", "tempfile", "time", "urllib", "uuid",
}  # fmt: skip
# Where a project comes from is asked of git, which may only tell.
ASKED = {"git": {"branch", "remote", "rev-parse", "status"}}


def forbidden_imports(source: str) -> Iterator[str]:
    """Imports that a hook must not have."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "."]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names or top in FORBIDDEN:
                yield name


def forbidden_programs(source: str) -> Iterator[str]:
    """Programs that a hook must not start, and what it must not ask git for."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        if ast.unparse(node.func) == "subprocess.run":
            words = node.args[0].elts if isinstance(node.args[0], ast.List) else []
            if not words or ast.literal_eval(words[0]) not in ASKED:
                yield ast.unparse(node)
        elif ast.unparse(node.func) == "git" and ast.literal_eval(node.args[1]) not in ASKED["git"]:
            yield ast.unparse(node)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every path with its mode and bytes; folders count, for an empty one is a trace."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    }


class TestTable:
    def test_every_path_exists(self, template: Path) -> None:
        """A renamed file must be renamed here too."""
        missing = [
            p for p in hook("post_gen_project").REMOVED if not (template / SERVICE / p).exists()
        ]
        assert not missing

    def test_every_condition_depends_on_the_answers(self) -> None:
        """Each path is kept under some answers and deleted under others."""
        for path, is_unwanted in hook("post_gen_project").REMOVED.items():
            assert {is_unwanted(answers) for answers in combinations()} == {True, False}, path

    @each(combinations())
    def test_what_is_unwanted_is_gone(self, bake: Bake, template: Path, answers: Answers) -> None:
        """And nothing else of the template is."""
        project = bake(answers)
        table = hook("post_gen_project").REMOVED
        gone = [path for path, is_unwanted in table.items() if is_unwanted(answers)]
        for path in (template / SERVICE).rglob("*"):
            inner = path.relative_to(template / SERVICE)
            unwanted = any(inner.is_relative_to(each_gone) for each_gone in gone)
            assert (project / inner).exists() != unwanted, inner
        assert not [p for p in project.rglob("*") if p.is_dir() and not any(p.iterdir())]


class TestBytes:
    @corner("defaults", "bare")
    def test_two_bakes_are_identical(
        self, cookies: Cookies, template: Path, answers: Answers
    ) -> None:
        """Same paths, modes and bytes."""
        bakes = [cookies.bake(extra_context=answers, template=str(template)) for _ in range(2)]
        first, second = (tree(result.project_path) for result in bakes)
        assert first == second
        assert len(first) > 10


class TestImports:
    @pytest.mark.parametrize("path", HOOKS, ids=lambda path: path.name)
    def test_standard_library_only(self, path: Path) -> None:
        """Cookiecutter's interpreter has nothing else; no network, clock or chance."""
        source = path.read_text(encoding="utf-8")
        assert set(forbidden_imports(source)) <= {"subprocess"}
        assert not list(forbidden_programs(source))


class TestCaught:
    def test_row_without_a_file(self, tmp_path: Path) -> None:
        """Found before anything is deleted."""
        post_gen = hook("post_gen_project")
        post_gen.REMOVED = {"kept": lambda _: True, "renamed": lambda _: False}
        (tmp_path / "kept").touch()
        with pytest.raises(SystemExit, match="lists renamed, which does not exist: "):
            post_gen.prune(tmp_path, {})
        assert (tmp_path / "kept").exists()

    @pytest.mark.parametrize("name", ["requests", "random", "urllib.request", "datetime"])
    def test_import(self, name: str) -> None:
        """A third-party module, chance, the network, a clock."""
        assert list(forbidden_imports(f"import {name}")) == [name]
        assert list(forbidden_imports(f"from {name} import x")) == [name]

    @pytest.mark.parametrize(
        "call", ["subprocess.run(command)", "subprocess.run(['sh'])", "git(here, 'commit')"]
    )
    def test_program(self, call: str) -> None:
        """One that nobody sees in the source, another one, and git when it writes."""
        assert list(forbidden_programs(call)) == [ast.unparse(ast.parse(call))]

    def test_change_of_mode(self, tmp_path: Path) -> None:
        """A difference in the executable bit alone is a difference."""
        (tmp_path / "file").touch(mode=0o644)
        before = tree(tmp_path)
        (tmp_path / "file").chmod(0o755)
        assert tree(tmp_path) != before or sys.platform == "win32"
