"""Every legal text comes out right, wherever it stands."""

import json
import tomllib
from functools import cache
from pathlib import Path

import pytest
from choices import CHOICES, PROMPTS, ROOT
from conftest import Bake
from cookiecutter.environment import StrictEnvironment
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from project import files, run, uv

NASTY = {
    "quotes": """He said "hi" \\ 'x' # é 日本 </script> 👩‍🚀""",
    "shell": "$HOME %s",
    "yaml": ": - [a] {b}",
    "long": "x" * 200,
    "markdown": "1. *a* _b_ `c` [d](e) <b> &amp; ~~f~~ \\*",
    "triple": "\"\"\" ''' \\",
}
PROSE = ("project_name", "description", "author_name")
LEGAL = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="{"), max_size=60)


@cache
def escaped(prompt: str, text: str) -> dict[str, str]:
    """The private variables of `cookiecutter.json` for this answer."""
    context = {"cookiecutter": PROMPTS}
    jinja = StrictEnvironment(context=context, **PROMPTS["_jinja2_env_vars"])
    answers = {key: value if key.startswith("_") else "" for key, value in PROMPTS.items()}
    answers[prompt] = text
    for key, value in PROMPTS.items():
        if key.startswith("__") and isinstance(value, str):
            answers[key] = jinja.from_string(value).render(cookiecutter=answers)
    return answers


def shown(markdown: str) -> list[tuple[str, str | None]]:
    """The blocks of a Markdown text, each with what a reader sees; None when it has markup."""
    tokens = MarkdownIt("commonmark").enable(["strikethrough", "table"]).parse(markdown)
    opened = ""
    blocks: list[tuple[str, str | None]] = []
    for token in tokens:
        if token.type == "inline":
            children = token.children or []
            plain = {child.type for child in children} <= {"text", "text_special"}
            said = "".join(child.content for child in children)
            blocks.append((opened, said if plain else None))
        elif token.nesting == 1:
            opened = token.type
    return blocks


class TestEscapes:
    @given(st.sampled_from(PROSE), LEGAL)
    @example("description", NASTY["quotes"])
    def test_toml(self, prompt: str, text: str) -> None:
        """Parses to exactly that text."""
        value = escaped(prompt, text)[f"__{prompt}_toml"]
        assert tomllib.loads(f'key = "{value}"') == {"key": text}

    @given(st.sampled_from(PROSE), LEGAL)
    @example("project_name", "C #")
    @example("project_name", NASTY["markdown"])
    def test_markdown_heading(self, prompt: str, text: str) -> None:
        """Reads as that text, and is markup of no kind."""
        value = escaped(prompt, text)[f"__{prompt}_markdown"]
        headings = shown(f"# {value}\n")
        assert [said for _, said in headings] == [text.strip()]

    @given(LEGAL.filter(str.strip))
    @example("1. one")
    @example("2) two")
    @example("- dash")
    @example("+ plus")
    @example("> quote")
    @example("=== underline")
    @example("    code")
    @example("~~~")
    @example("***")
    def test_markdown_paragraph(self, text: str) -> None:
        """A description that looks like a list or a quotation is still a paragraph."""
        value = escaped("description", text)["__description_markdown"]
        assert shown(f"# Title\n\n{value}\n\nEnd\n")[1:-1] == [("paragraph_open", text.strip())]

    @given(LEGAL)
    @example(NASTY["triple"])
    def test_hooks_read_what_was_answered(self, text: str) -> None:
        """The JSON in a hook's raw string holds any text."""
        line = next(
            line
            for line in (ROOT / "hooks" / "pre_gen_project.py").read_text("utf-8").splitlines()
            if "tojson" in line
        )
        context = {"cookiecutter": PROMPTS}
        jinja = StrictEnvironment(context=context, **PROMPTS["_jinja2_env_vars"])
        rendered = jinja.from_string(line.strip()).render(cookiecutter={"description": text})
        names: dict[str, object] = {"json": json}
        exec(rendered, names)  # noqa: S102 - as cookiecutter does
        assert names["answers"] == {"description": text}


class TestBakedTexts:
    @pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
    @pytest.mark.parametrize("license_", CHOICES["license"])
    def test_each_place_carries_it(self, bake: Bake, text: str, license_: str) -> None:
        """In every text prompt at once; the slug is the default or made of the name."""
        answers = {**dict.fromkeys(PROSE, text), "license": license_}
        project = bake(answers)

        metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))[
            "project"
        ]
        assert metadata["name"] == project.name
        assert metadata["description"] == text
        assert metadata["authors"] == [{"name": text}]

        about = tomllib.loads((project / "app" / "about.toml").read_text(encoding="utf-8"))
        assert about["name"] == text
        assert about["description"] == text

        lines = (project / "LICENSE").read_text(encoding="utf-8").splitlines()
        assert any("Copyright" in line and line.endswith(f" {text}") for line in lines)

        blocks = shown((project / "README.md").read_text(encoding="utf-8"))
        assert blocks[:2] == [("heading_open", text), ("paragraph_open", text)]

    @pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
    def test_uv_reads_the_project(self, bake: Bake, text: str, tmp_path: Path) -> None:
        """As the tool that the user runs next sees it."""
        project = bake(dict.fromkeys(PROSE, text))
        (tmp_path / "pyproject.toml").write_bytes((project / "pyproject.toml").read_bytes())
        ended = run([uv(), "version", "--short"], tmp_path)
        assert ended.returncode == 0, ended.stdout

    def test_no_text_enters_python(self, bake: Bake) -> None:
        """Only the slug does, so that no answer can break a program."""
        text = "Unmistakable words"
        for path in files(bake(dict.fromkeys(PROSE, text))):
            assert path.suffix != ".py" or text not in path.read_text(encoding="utf-8"), path
