"""Law 1: the template is real code, and what is baked needs no formatter."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from choices import PROMPTS, ROOT, Answers, combinations, each
from conftest import Bake
from cookiecutter.generate import is_copy_only_path
from project import complaints, files, python_files, ruff_complaints, run
from pytest_cookies.plugin import Cookies
from template import SERVICE

CONDITION = re.compile(r"#\s*\{%")
RUFF = (sys.executable, "-m", "ruff")


def unparsable(folder: Path) -> Iterator[str]:
    """Files that are no Python before they are rendered."""
    for path in python_files(folder):
        try:
            ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError as error:
            yield f"{path.relative_to(folder)}:{error.lineno}: {error.msg}"


def unconditional(folder: Path) -> list[str]:
    """Files that can be judged as they stand, before any rendering."""
    paths = (p for p in python_files(folder) if not CONDITION.search(p.read_text(encoding="utf-8")))
    return [str(path.relative_to(folder)) for path in paths]


def lint_in_place(folder: Path) -> str:
    """What ruff says of these files, by the rules of the template's own `pyproject.toml`."""
    config = ["--no-cache", "--force-exclude", "--config", str(ROOT / "pyproject.toml")]
    config += ["--config", "extend-exclude = []"]
    paths = unconditional(folder)
    return complaints([*RUFF, "check", *config, *paths], folder) + complaints(
        [*RUFF, "format", "--check", *config, *paths], folder
    )


def type_check_in_place(folder: Path, cache: Path) -> str:
    """What `mypy --strict` says of them, with its cache elsewhere."""
    config = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache)]
    # What the files with conditions would say is asked after baking.
    config += ["--follow-imports", "silent"]
    return complaints([sys.executable, "-m", "mypy", *config, *unconditional(folder)], folder)


def _is_copied(name: str) -> bool:
    """Whether the baking copies the file, or a folder that it is in, as it is."""
    folders = [folder.as_posix() for folder in PurePosixPath(name).parents]
    context = {"cookiecutter": PROMPTS}
    return any(is_copy_only_path(path, context) for path in [name, *folders])


class TestInPlace:
    def test_every_file_parses(self, template: Path) -> None:
        """Conditions are comments, so that Python reads past them."""
        assert not list(unparsable(template / SERVICE))

    def test_ruff(self, template: Path) -> None:
        """Files without a condition are linted and formatted where they stand."""
        assert not (said := lint_in_place(template / SERVICE)), said

    def test_ruff_at_the_root_stays_outside(self, template: Path) -> None:
        """It would format the files with conditions as if every branch were there at once."""
        shown = run([*RUFF, "check", "--no-cache", "--show-files", "."], template).stdout
        assert "choices.py" in shown
        assert SERVICE not in shown

    def test_mypy(self, template: Path, tmp_path: Path) -> None:
        """Files without a condition are type-checked where they stand."""
        assert not (said := type_check_in_place(template / SERVICE, tmp_path)), said

    def test_what_is_copied_has_no_conditions(self, template: Path) -> None:
        """They would be copied too."""
        project = template / "{{cookiecutter.project_slug}}"
        names = [path.relative_to(project).as_posix() for path in files(project)]
        copied = [name for name in names if _is_copied(name)]
        assert len(copied) > len(names) / 2
        assert not [
            name
            for name in copied
            if CONDITION.search(text := (project / name).read_text(encoding="utf-8"))
            or "{{ cookiecutter" in text
        ]

    def test_rules_are_those_of_the_service(self, bake: Bake) -> None:
        """What passes in place passes after baking too, and the other way round."""
        own, service = (
            tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
            for folder in (ROOT, bake({}))
        )
        for key in ("select", "ignore"):
            assert own["tool"]["ruff"]["lint"][key] == service["tool"]["ruff"]["lint"][key]
        for key in ("line-length", "target-version"):
            assert own["tool"]["ruff"][key] == service["tool"]["ruff"][key]
        assert own["tool"]["mypy"]["plugins"] == service["tool"]["mypy"]["plugins"]

    def test_packages_are_those_of_the_service(self, bake: Bake) -> None:
        """So that a tool says here what it says there, and a moved bound moves in both."""
        own = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        baked = set()
        for answers in combinations():
            pyproject = (bake(answers) / "pyproject.toml").read_text(encoding="utf-8")
            service = tomllib.loads(pyproject)
            baked |= {*service["project"]["dependencies"], *service["dependency-groups"]["dev"]}
        assert set(own["dependency-groups"]["service"]) == baked


IDIOMS = {
    "code.py": (
        """\
import os

# {% if cookiecutter.yes == "1" %}
YES = os.name
# {% else %}
NO = os.sep
# {% endif %}
TEXT = "{{ cookiecutter.text }}"
FORMAT = "{}{#}{%".format("${#x}")
""",
        """\
import os

YES = os.name
TEXT = "it's"
FORMAT = "{}{#}{%".format("${#x}")
""",
    ),
    "table.toml": (
        """\
list = [
    "a",
    # {% if cookiecutter.yes == "1" %}
    "b",
    # {% endif %}
]
# {% if cookiecutter.yes == "2" %}
[gone]
# {% endif %}
""",
        """\
list = [
    "a",
    "b",
]
""",
    ),
    "compose.yaml": (
        """\
services:
  # {% if cookiecutter.yes == "1" %}
  app:
    image: "{{ cookiecutter.text }}"
  # {% endif %}
  # {# said to whoever reads the template #}
  other: {}
""",
        """\
services:
  app:
    image: "it's"
  other: {}
""",
    ),
    ".env": ("# {% if cookiecutter.yes == '2' %}\nA=1\n# {% endif %}\nB=${A#x}\n", "B=${A#x}\n"),
    "Dockerfile": (
        """\
FROM x
# {% if cookiecutter.yes == '1' %}
RUN echo ${#x} {% \\
# {% endif %}
  && ls
""",
        """\
FROM x
RUN echo ${#x} {% \\
  && ls
""",
    ),
    "workflow.yaml": (
        "on: {}  # {%- raw %}\nname: ${{ matrix.python }}\n# {% endraw %}\n",
        "on: {}\nname: ${{ matrix.python }}\n",
    ),
    "copied/rules.yaml": ("summary: {{ $labels.x }}\n", "summary: {{ $labels.x }}\n"),
    "copied/in/board.json": (
        '{"legend": "{{route}} {{#}}", "uid": "${x}"}\n',
        '{"legend": "{{route}} {{#}}", "uid": "${x}"}\n',
    ),
}


class TestIdioms:
    def test_each_is_rendered(self, cookies: Cookies, tmp_path: Path) -> None:
        """With the template's own delimiters, in every language that it is written in."""
        context = {
            "slug": "x",
            "yes": "1",
            "text": "it's",
            "_copy_without_render": ["copied/*"],
            "_jinja2_env_vars": PROMPTS["_jinja2_env_vars"],
        }
        (tmp_path / "cookiecutter.json").write_text(json.dumps(context), encoding="utf-8")
        for name, (source, _) in IDIOMS.items():
            path = tmp_path / "{{cookiecutter.slug}}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
        result = cookies.bake(template=str(tmp_path))
        assert result.exception is None
        for name, (_, rendered) in IDIOMS.items():
            assert (result.project_path / name).read_text(encoding="utf-8") == rendered


class TestBaked:
    @each(combinations())
    def test_ruff(self, bake: Bake, answers: Answers) -> None:
        """Whatever was chosen, the project is linted and formatted as it comes."""
        assert not (said := ruff_complaints(bake(answers))), said

    @each(combinations())
    def test_everything_parses(self, bake: Bake, answers: Answers) -> None:
        """Nothing of the template's own language is left, in Python or TOML."""
        project = bake(answers)
        assert not list(unparsable(project))
        for path in project.rglob("*.toml"):
            tomllib.loads(path.read_text(encoding="utf-8"))
        for path in files(project):
            # What takes updates knows who bakes.
            if path.parent.name != "tools":
                assert not re.search(r"\{%|\{#|cookiecutter", path.read_text(encoding="utf-8")), (
                    path
                )


class TestCaught:
    @pytest.mark.parametrize(
        ("source", "complaint"),
        [
            ("import os\n", "F401"),
            ("x = {'a':1}\n", "would be reformatted"),
            ("# {% if x %}\nimport os\n# {% endif %}\n", ""),
        ],
        ids=["unused import", "not formatted", "condition is judged after baking"],
    )
    def test_lint(self, tmp_path: Path, source: str, complaint: str) -> None:
        """A blemish is found in place, and a file with a condition is left for later."""
        (tmp_path / "good.py").write_text("x = 1\n", encoding="utf-8")
        (tmp_path / "bad.py").write_text(source, encoding="utf-8")
        said = lint_in_place(tmp_path)
        assert complaint in said
        assert bool(said) == bool(complaint)

    def test_type(self, tmp_path: Path) -> None:
        """A missing annotation is found in place."""
        (tmp_path / "bad.py").write_text("def f(x): return x\n", encoding="utf-8")
        assert "no-untyped-def" in type_check_in_place(tmp_path, tmp_path / "cache")

    def test_bare_jinja(self, tmp_path: Path) -> None:
        """A tag that is no comment makes the file unreadable before rendering."""
        (tmp_path / "bad.py").write_text("{% if x %}\nimport os\n{% endif %}\n", encoding="utf-8")
        assert len(list(unparsable(tmp_path))) == 1
