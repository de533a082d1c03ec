"""The load of a generated project, which needs an environment with Locust."""

import re

import pytest
from choices import CORNERS
from conftest import Bake
from project import complaints, install, run, uv

pytestmark = pytest.mark.environment


def test_every_request_is_answered(bake: Bake) -> None:
    """The project's own test is not skipped there, and passes; its types are right."""
    project = install(bake(CORNERS["defaults"]))
    failed = complaints([uv(), "sync", "--quiet", "--group", "load"], project.path)
    assert not failed, failed
    test = ["-m", "pytest", "--numprocesses=0", "--no-cov", "-m", "slow"]
    ended = run([project.python, *test, "tests/catalog/test_load.py"], project.path)
    assert re.search(r"^=+ 1 passed", ended.stdout, re.MULTILINE), ended.stdout
