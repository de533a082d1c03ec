"""What the documents say of the prompts is what the prompts are."""

import json
import re
import shutil
from pathlib import Path

import pytest
from choices import PROMPTS, ROOT
from plots import shown
from template import program

SCRIPT = program(ROOT / "scripts" / "prompts.py")
PLOTS = program(ROOT / "scripts" / "dashboard_plots.py")


class TestPrompts:
    def test_documents_are_up_to_date(self) -> None:
        """`python scripts/prompts.py` mends them."""
        assert SCRIPT.stale(ROOT) == []

    def test_change_is_noticed(self, tmp_path: Path) -> None:
        """A new value makes both documents stale."""
        (tmp_path / "docs").mkdir()
        for path in ("README.md", "docs/prompts.md"):
            shutil.copy(ROOT / path, tmp_path / path)
        prompts = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
        prompts["license"].append("WTFPL")
        prompts["__prompts__"]["license"]["WTFPL"] = "Do what you want"
        (tmp_path / "cookiecutter.json").write_text(json.dumps(prompts), encoding="utf-8")
        assert {path.name for path in SCRIPT.stale(tmp_path)} == {"README.md", "prompts.md"}

    def test_every_prompt_and_value_has_a_sentence(self) -> None:
        """And there is no sentence for what is not asked."""
        public = {key: value for key, value in PROMPTS.items() if not key.startswith("_")}
        assert list(PROMPTS["__prompts__"]) == list(public)
        for key, value in public.items():
            if isinstance(value, list):
                assert list(PROMPTS["__prompts__"][key]) == ["__prompt__", *value]


class TestDashboards:
    def test_page_is_up_to_date(self) -> None:
        """`python scripts/dashboard_plots.py` mends it; with `--page` it draws nothing."""
        text = PLOTS.PAGE.read_text(encoding="utf-8")
        assert PLOTS.page(text) == text

    def test_every_panel_is_drawn(self) -> None:
        """And no plot is left of one that is gone."""
        text = PLOTS.PAGE.read_text(encoding="utf-8")
        linked = set(re.findall(r"images/dashboard/(\S+\.svg)\)", text))
        assert linked == {path.name for path in PLOTS.IMAGES.iterdir()}

    @pytest.mark.parametrize(
        ("value", "unit", "said"),
        [
            (0.0123, "s", "12.3 ms"),
            (0.999, "percentunit", "99.9 %"),
            (3 * 2**20, "bytes", "3 MiB"),
            (0, "s", "0 s"),
            (12, "short", "12"),
        ],
    )
    def test_values_are_readable(self, value: float, unit: str, said: str) -> None:
        """With the unit of the panel, in three figures."""
        assert shown(value, unit) == said


class TestReadme:
    @pytest.mark.parametrize(
        "command",
        [
            "pip install uv && uvx cookiecutter . --no-input",
            "cd my-service && uv run python -m app serve",
            "pip install uv && uv run pytest",
        ],
    )
    def test_first_commands_stand_there(self, command: str) -> None:
        """As the first words of a line in a code block; `.ci/run` runs the same lines."""
        lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        assert any(line.startswith(command) for line in lines)


class TestArchitecture:
    def test_every_path_has_a_line(self) -> None:
        """Its own, or its folder's; packages and tests need none."""
        template = ROOT / "{{cookiecutter.project_slug}}"
        document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
        listed = re.findall(r"^\| `([^`]+)` \|", document, re.MULTILINE)
        paths = {
            path.relative_to(template).as_posix()
            for path in template.rglob("*")
            if path.is_file() and path.name != "__init__.py" and path.suffix != ".pyc"
        }
        folders = tuple(path for path in listed if path.endswith("/"))
        assert {path for path in paths if not path.startswith(folders)} <= set(listed)
        assert [path for path in listed if not (template / path).exists()] == []
