"""What `pre_gen_project.py` refuses, in one sentence and before anything is written."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from choices import CORNERS, TEXTS, complete
from conftest import Install
from cookiecutter.exceptions import FailedHookException, OutputDirExistsException
from hypothesis import given
from hypothesis import strategies as st
from project import SCRIPTS
from pytest_cookies.plugin import Cookies
from template import hook

PRE_GEN = hook("pre_gen_project")
GOOD = {
    "project_name": "My Service",
    "project_slug": "my-service",
    "description": "It works.",
    "author_name": "My Team",
}
BAD_SLUGS = {
    "blank": " ",
    "capital": "My-service",
    "underscore": "my_service",
    "dot": "my.service",
    "accent": "mé-service",
    "foreign digit": "service-٣",
    "hyphen first": "-service",
    "hyphen last": "service-",
    "too long": "s" * 51,
    "device": "nul",
    "numbered device": "com1",
    "dependency": "fastapi",
    "dependency of a dependency": "annotated-types",
    "dependency with a hyphen doubled": "annotated--types",
}
BAD_TEXTS = {
    "line break": "one\ntwo",
    "tab": "one\ttwo",
    "escape": "\x1b[31mred",
    "delete": "\x7f",
    "C1": "\x85",
    "expression": "a {" + "{ b",
    "statement": "a {% b",
    "comment": "a {# b",
}


def refusals(**answers: str) -> list[str]:
    return list(PRE_GEN.refusals(complete({}) | GOOD | answers))


class TestCombinations:
    def test_worker_without_a_database(self) -> None:
        """One sentence, which says what to choose instead."""
        [sentence] = refusals(**complete({"database_driver": "none", "task_queue": "celery-redis"}))
        assert "choose a database_driver, or task_queue in-process." in sentence


class TestSlug:
    @pytest.mark.parametrize("slug", BAD_SLUGS.values(), ids=BAD_SLUGS.keys())
    def test_bad_one_is_refused(self, slug: str) -> None:
        """One sentence, with a remedy after the colon."""
        (sentence,) = refusals(project_slug=slug)
        assert sentence.startswith("project_slug ")
        assert ": choose " in sentence
        assert sentence.endswith(".")

    @pytest.mark.parametrize("slug", ["a", "7", "my-service", "a--b", "app", "console", "s" * 50])
    def test_good_one_passes(self, slug: str) -> None:
        """Whatever uv, Windows and DNS take is legal."""
        assert refusals(project_slug=slug) == []

    def test_empty_one_names_no_folder(
        self, cookies: Cookies, template: Path, tmp_path: Path
    ) -> None:
        """Cookiecutter refuses that before any hook runs; under its `-f` the hook does."""
        result = cookies.bake(extra_context={"project_slug": ""}, template=str(template))
        assert isinstance(result.exception, OutputDirExistsException)
        assert not list(tmp_path.rglob("app"))
        assert refusals(project_slug="")

    def test_name_without_letters_falls_back(self, cookies: Cookies, template: Path) -> None:
        """A name of which no slug can be made gets the default one."""
        result = cookies.bake(extra_context={"project_name": "👩‍🚀"}, template=str(template))
        assert result.exception is None
        assert result.project_path.name == "my-service"

    @pytest.mark.environment
    @pytest.mark.xdist_group("defaults")
    def test_every_installed_package_is_refused(self, installed: Install) -> None:
        """No project may have the name of a package in any lock file, direct or not."""
        missing = set()
        for answers in CORNERS.values():
            lock = tomllib.loads((installed(answers).path / "uv.lock").read_text(encoding="utf-8"))
            missing |= {package["name"] for package in lock["package"]}
        missing -= {"my-service", *PRE_GEN.DEPENDENCIES}
        assert not missing, f"add to DEPENDENCIES in hooks/pre_gen_project.py: {sorted(missing)}"


class TestTexts:
    def test_every_text_prompt_is_looked_at(self) -> None:
        """The slug has rules of its own."""
        assert {*PRE_GEN.TEXT_PROMPTS, "project_slug"} == set(TEXTS)

    @pytest.mark.parametrize("prompt", PRE_GEN.TEXT_PROMPTS)
    @pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
    def test_bad_one_is_refused(self, prompt: str, text: str) -> None:
        """Control characters and what opens an expression of Jinja."""
        (sentence,) = refusals(**{prompt: text})
        assert sentence.startswith(f"{prompt} contains ")
        assert ": " in sentence

    @given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="{")))
    def test_every_other_one_passes(self, text: str) -> None:
        """The rest is the business of the files that carry it."""
        assert refusals(project_name=f"a{text}", description=text, author_name=text) == []

    @pytest.mark.parametrize("text", ["", " ", "\u3000"])
    def test_blank_name_is_refused(self, text: str) -> None:
        """The documentation of a service needs a title."""
        (sentence,) = refusals(project_name=text)
        assert sentence.startswith("project_name is blank: ")


class TestBake:
    def test_refusal_is_the_first_line_and_leaves_nothing(
        self, cookies: Cookies, template: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """What the user reads first is the sentence, and no folder stays behind."""
        result = cookies.bake(extra_context={"project_slug": "Bad"}, template=str(template))
        assert isinstance(result.exception, FailedHookException)
        assert capfd.readouterr().err.splitlines() == refusals(project_slug="Bad")
        assert not list(tmp_path.rglob("Bad"))

    def test_command_line_says_the_next_two_commands_only(
        self, template: Path, tmp_path: Path
    ) -> None:
        """From a terminal, with the output folder as it comes."""
        ended = subprocess.run(
            [SCRIPTS / "cookiecutter", template, "--no-input"],
            cwd=tmp_path,
            capture_output=True,
            check=True,
            encoding="utf-8",
        )
        assert ended.stdout.splitlines() == ["cd my-service", "uv run python -m app serve"]
        assert (tmp_path / "my-service" / "app").is_dir()


class TestCaches:
    def test_stray_ones_are_deleted(self, tmp_path: Path) -> None:
        """Tools that ran inside the template leave nothing in a project."""
        for cache in ("__pycache__", ".mypy_cache", "app/.ruff_cache", ".pytest_cache"):
            (tmp_path / cache).mkdir(parents=True)
            (tmp_path / cache / "entry").write_bytes(b"\xff\x00")
        post_gen = hook("post_gen_project")
        for path in post_gen.REMOVED:
            (tmp_path / path).mkdir(parents=True, exist_ok=True)
        post_gen.prune(tmp_path, complete({}))
        assert not list(tmp_path.rglob("entry"))


def test_hooks_run_on_any_python(template: Path) -> None:
    """Rendered or not, they compile for the interpreter that runs cookiecutter."""
    for path in (template / "hooks").glob("*.py"):
        compile(path.read_text(encoding="utf-8"), path.name, "exec", dont_inherit=True)
    assert sys.version_info >= (3, 11)
