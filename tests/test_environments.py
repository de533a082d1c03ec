"""Baked projects in environments of their own: what the user runs first passes."""

import re
from collections.abc import Callable

import pytest
from choices import Answers, corner
from conftest import Install
from project import run
from services import required, variables

pytestmark = pytest.mark.environment


class TestService:
    def test_types(self, installed: Install, chosen: Answers) -> None:
        """`mypy` passes, strict, with what the project itself installs."""
        assert not (said := installed(chosen).complaints("-m", "mypy")), said

    def test_tests(self, installed: Install, chosen: Answers, pytestconfig: pytest.Config) -> None:
        """The generated tests pass, in one process: this run has several already."""
        options = ["--numprocesses=0", *required(pytestconfig, chosen)]
        said = installed(chosen).complaints("-m", "pytest", *options, **variables(chosen))
        assert not said, said

    @corner("defaults", "asyncpg", "psycopg", "asyncmy", "no-database")
    def test_contract(
        self,
        installed: Install,
        answers: Answers,
        pytestconfig: pytest.Config,
        record_property: Callable[[str, object], None],
    ) -> None:
        """The catalogue keeps its promises over every store; the summary has the counts."""
        tests = [f"tests/catalog/test_{name}.py" for name in ("contract", "listing", "export")]
        options = ["-p", "no:cacheprovider", "--numprocesses=0", "--no-cov", "-vv"]
        ended = run(
            [
                installed(answers).python,
                "-m",
                "pytest",
                *options,
                *tests,
                *required(pytestconfig, answers),
            ],
            installed(answers).path,
            variables(answers),
        )
        assert ended.returncode == 0, ended.stdout
        driver = answers["database_driver"]
        for store, name in {"memory": "dict", "database": driver}.items():
            if count := len(re.findall(rf"\[{store}\b.* PASSED|-{store}\] PASSED", ended.stdout)):
                record_property("contract", f"{driver}: {count} passed over {name}")

    @corner("no-database", "no-example", "bare", "asyncpg", "psycopg", "asyncmy")
    def test_slow_tests(
        self, installed: Install, answers: Answers, pytestconfig: pytest.Config
    ) -> None:
        """So do those that stop real servers under load; `.ci/run` runs them on the defaults."""
        options = ["--numprocesses=0", "--no-cov", "-m", "slow", *required(pytestconfig, answers)]
        said = installed(answers).complaints("-m", "pytest", *options, **variables(answers))
        assert not said, said
