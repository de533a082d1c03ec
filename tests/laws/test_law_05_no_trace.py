"""Law 5: what was not chosen leaves no word, file, dependency or setting."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from choices import TRACES, Answers, combinations, complete, each
from conftest import Bake
from project import dependency_complaints, files, python_files


def traces(project: Path, answers: Answers) -> Iterator[str]:
    """Where words stand, in names and lines, that only another answer may leave."""
    words = [word for t in TRACES if not t.allowed(answers) for word in t.words]
    unwanted = re.compile("|".join(words), re.IGNORECASE)
    for path in files(project):
        name = path.relative_to(project).as_posix()
        if name.startswith((".cruft.json", "tools/")):
            # The answers themselves, and what can change them.
            continue
        if unwanted.search(name):
            yield name
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if unwanted.search(line):
                yield f"{name}:{number}: {line.strip()}"


def unused_modules(project: Path) -> set[str]:
    """Modules of the service that no other module of it imports, and no test."""
    modules = {}
    for path in python_files(project):
        name = ".".join(path.relative_to(project).with_suffix("").parts)
        modules[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    imported = set()
    for tree in modules.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    # Whoever imports a module imports the packages that it is in.
    imported |= {parent.rpartition(".")[0] for parent in imported}
    inner = {name for name in modules if name.startswith("app.")} - imported
    # Found by their path: by Alembic, and by Python's -m.
    found = re.compile(r"__main__|\.alembic\.|\.migrations\.")
    return {name for name in inner if not found.search(name) and not _is_program(modules[name])}


def _is_program(tree: ast.Module) -> bool:
    """Whether it does something when it is run, and not imported."""
    tests = (ast.unparse(node.test) for node in tree.body if isinstance(node, ast.If))
    return "__name__ == '__main__'" in tests


class TestBaked:
    @each(combinations())
    def test_no_word_is_left(self, bake: Bake, answers: Answers) -> None:
        """In any file or path, the README and the settings included."""
        found = list(traces(bake(answers), answers))
        assert not found, "\n".join(["", *found[:20]])

    @each(combinations())
    def test_no_dependency_is_left(self, bake: Bake, answers: Answers) -> None:
        """What is depended on is imported, and the other way round."""
        assert not (said := dependency_complaints(bake(answers))), said

    @each(combinations())
    def test_no_module_is_left(self, bake: Bake, answers: Answers) -> None:
        """What nothing imports is the rest of something that was not chosen."""
        assert not unused_modules(bake(answers))


class TestCaught:
    def test_word(self, tmp_path: Path) -> None:
        """In a line and in a name, whatever the case."""
        (tmp_path / "README.md").write_text("Run the\nMigrations.\n", encoding="utf-8")
        (tmp_path / "sqlite.py").touch()
        answers = complete({"database_driver": "none"})
        assert list(traces(tmp_path, answers)) == ["README.md:2: Migrations.", "sqlite.py"]
        assert not list(traces(tmp_path, complete({})))

    def test_dependency(self, tmp_path: Path) -> None:
        """A package that nothing imports is named."""
        pyproject = '[project]\nname = "x"\nversion = "0"\ndependencies = ["fastapi", "alembic"]\n'
        (tmp_path / "pyproject.toml").write_text(pyproject, encoding="utf-8")
        (tmp_path / "app.py").write_text("import fastapi\n", encoding="utf-8")
        said = dependency_complaints(tmp_path)
        assert "'alembic'" in said
        assert "'fastapi'" not in said

    def test_module(self, tmp_path: Path) -> None:
        """A module that only itself knows is named."""
        (tmp_path / "app").mkdir()
        for name in ("__init__", "__main__", "used", "unused"):
            (tmp_path / "app" / f"{name}.py").write_text("from app import used\n", encoding="utf-8")
        assert unused_modules(tmp_path) == {"app.unused"}
