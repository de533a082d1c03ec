"""Baked projects in environments of their own: what the user runs first passes."""

import pytest
from choices import Answers, corner
from conftest import Install

pytestmark = pytest.mark.environment


class TestService:
    def test_types(self, installed: Install, chosen: Answers) -> None:
        """`mypy` passes, strict, with what the project itself installs."""
        assert not (said := installed(chosen).complaints("-m", "mypy")), said

    def test_tests(self, installed: Install, chosen: Answers) -> None:
        """The generated tests pass, in one process: this run has several already."""
        said = installed(chosen).complaints("-m", "pytest", "--numprocesses=0")
        assert not said, said

    @corner("no-database", "no-example", "bare")
    def test_slow_tests(self, installed: Install, answers: Answers) -> None:
        """So do those that stop real servers under load; `.ci/run` runs them on the defaults."""
        project = installed(answers)
        said = project.complaints("-m", "pytest", "--numprocesses=0", "--no-cov", "-m", "slow")
        assert not said, said
