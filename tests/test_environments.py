"""Baked projects in environments of their own: what the user runs first passes."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from choices import BASE, Answers, about, corner
from conftest import Install
from services import required, variables

pytestmark = pytest.mark.environment

CONTRACT = re.compile(r"tests\.catalog\.test_(contract|listing|export)\b.*")
STORE = re.compile(r"[\[-](memory|database)\b")


def stores(answers: Answers) -> set[str]:
    """Over which the tests of the catalogue run."""
    if answers["example"] == "none":
        return set()
    return {"memory"} if answers["database_driver"] == "none" else {"memory", "database"}


def contract_counts(report: Path) -> Counter[str]:
    """How many tests of the catalogue's contract passed over each store."""
    counts: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # our own
        if CONTRACT.fullmatch(case.attrib["classname"]) and not len(case):
            counts.update(STORE.findall(case.attrib["name"]))
    return counts


@pytest.fixture(scope="session")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy has found out about libraries, most of which are the same everywhere."""
    return tmp_path_factory.mktemp("types")


class TestService:
    def test_types(self, installed: Install, chosen: Answers, types: Path) -> None:
        """`mypy` passes, strict, with what the project itself installs."""
        said = installed(chosen).complaints("-m", "mypy", "--cache-dir", types)
        assert not said, said

    def test_tests(
        self,
        installed: Install,
        chosen: Answers,
        pytestconfig: pytest.Config,
        record_property: Callable[[str, object], None],
        tmp_path: Path,
    ) -> None:
        """The generated tests pass, all or some; the summary counts the catalogue's, by store.

        In one process, since this run has several already.
        """
        report = tmp_path / "report.xml"
        project = installed(chosen)
        options = ["--numprocesses=0", "--no-cov", f"--junitxml={report}"]
        options += required(pytestconfig, chosen)
        if pytestconfig.getoption("pairwise") != "full":
            options += project.having({*BASE, *about(chosen)})
        said = project.complaints("-m", "pytest", *options, **variables(chosen))
        assert not said, said
        driver = chosen["database_driver"]
        counts = contract_counts(report)
        assert set(counts) == stores(chosen)
        for store, count in counts.items():
            kept_in = "dict" if store == "memory" else driver
            record_property("contract", f"{driver}: {count} passed over {kept_in}")

    @corner("asyncpg+tiered", "psycopg+redis", "asyncmy+no-cache", "celery-redis")
    def test_slow_tests(
        self, installed: Install, answers: Answers, pytestconfig: pytest.Config
    ) -> None:
        """So do those that start processes and are about what was chosen.

        `.ci/run` runs all of them on the defaults.
        """
        project = installed(answers)
        options = ["--numprocesses=0", "--no-cov", "-m", "slow", *required(pytestconfig, answers)]
        if pytestconfig.getoption("pairwise") != "full":
            options += project.having(about(answers))
        said = project.complaints("-m", "pytest", *options, **variables(answers))
        assert not said, said
