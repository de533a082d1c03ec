"""Write what `cookiecutter.json` asks into `docs/prompts.md` and the README's table.

`python scripts/prompts.py` writes both; with `--check` it writes nothing, and exits 1 when they are
stale.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- prompts: begin (scripts/prompts.py) -->", "<!-- prompts: end -->"

PAGE = """\
# Prompts

Cookiecutter asks these questions, in this order. On the command line, `--no-input` takes every
default, and `name=value` answers one: `uvx cookiecutter . --no-input database_driver=none`.

## Texts

{texts}
Any text is legal, with three exceptions, which are refused in a sentence: a blank `project_name`,
control characters (a line break, a tab), and the openings of Jinja's expressions, `{{{{`, `{{%` and
`{{#`. Under `--no-input`, cookiecutter evaluates the answers before any hook of the template runs:
`{{{{7*7}}}}` becomes `49`, and an expression that does not end is an error of cookiecutter's own.

`project_slug` is the only text that enters a program. It names the folder and the package: at most
50 lower-case letters, digits and inner hyphens; no device name of Windows (`nul`, `com1`); no name
of a package that the service installs, for uv would take the project for that package. An empty
slug is refused by cookiecutter itself, as a directory that already exists.
{choices}"""


def rows(cells: Iterable[tuple[str, ...]], *titles: str) -> str:
    """A Markdown table."""
    lines = [titles, tuple("---" for _ in titles), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def question(prompts: dict[str, Any], name: str) -> str:
    """The human sentence of a prompt."""
    asked = prompts["__prompts__"][name]
    sentence = asked["__prompt__"] if isinstance(asked, dict) else asked
    return str(sentence)


def default(value: str) -> str:
    """The default of a text prompt, in words where it is computed."""
    return "made of `project_name`" if "{{" in value else f"`{value}`"


def page(prompts: dict[str, Any]) -> str:
    """All of `docs/prompts.md`."""
    public = {name: value for name, value in prompts.items() if not name.startswith("_")}
    texts = [
        (f"`{name}`", question(prompts, name), default(value))
        for name, value in public.items()
        if isinstance(value, str)
    ]
    choices = ""
    for name, values in public.items():
        if isinstance(values, list):
            meanings = prompts["__prompts__"][name]
            cells = [(f"`{value}`", meanings[value]) for value in values]
            choices += (
                f"\n## `{name}`\n\n{question(prompts, name)} The first value is the default.\n\n"
            )
            choices += rows(cells, "value", "meaning")
    return PAGE.format(texts=rows(texts, "prompt", "question", "default"), choices=choices)


def table(prompts: dict[str, Any]) -> str:
    """The README's table: one line for each prompt."""
    cells = []
    for name, value in prompts.items():
        if not name.startswith("_"):
            values = [f"`{v}`" for v in value] if isinstance(value, list) else [default(value)]
            cells.append((f"`{name}`", question(prompts, name), ", ".join(values)))
    return rows(cells, "prompt", "question", "values, the default first")


def generated(root: Path) -> dict[Path, str]:
    """What each file should hold."""
    prompts = json.loads((root / "cookiecutter.json").read_text(encoding="utf-8"))
    readme = root / "README.md"
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"README.md has lost the lines {BEGIN!r} and {END!r}: put them back.")
    return {
        root / "docs" / "prompts.md": page(prompts),
        readme: f"{before}{BEGIN}\n\n{table(prompts)}\n{END}{after}",
    }


def stale(root: Path) -> list[Path]:
    """Files that do not say what `cookiecutter.json` asks."""
    return [
        path
        for path, text in generated(root).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when stale")
    if parser.parse_args().check:
        if paths := stale(ROOT):
            names = ", ".join(path.name for path in paths)
            sys.exit(f"{names} does not match cookiecutter.json: run python scripts/prompts.py.")
        return
    for path, text in generated(ROOT).items():
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
