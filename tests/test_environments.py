"""Baked projects in environments of their own: what the user runs first passes."""

import pytest
from choices import Answers
from conftest import Install

pytestmark = pytest.mark.environment


class TestService:
    def test_types(self, installed: Install, chosen: Answers) -> None:
        """`mypy` passes, strict, with what the project itself installs."""
        assert not (said := installed(chosen).complaints("-m", "mypy")), said

    def test_tests(self, installed: Install, chosen: Answers) -> None:
        """The generated tests pass."""
        assert not (said := installed(chosen).complaints("-m", "pytest")), said
