"""Baked projects in environments of their own: what the user runs first passes."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from choices import CORNERS, PARTS, WHOLE, Answers, corner, name, servers
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


def parts(project: Path, answers: Answers) -> list[str]:
    """The tests that run in every run; none are named where all of them do."""
    if name(answers) in {name(CORNERS[label]) for label in WHOLE}:
        return []
    paths = (path for part in PARTS for path in sorted(project.glob(part)))
    return [path.relative_to(project).as_posix() for path in paths]


def contract_counts(report: Path) -> Counter[str]:
    """How many tests of the catalogue's contract passed over each store."""
    counts: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # our own
        if CONTRACT.fullmatch(case.attrib["classname"]) and not len(case):
            counts.update(STORE.findall(case.attrib["name"]))
    return counts


class TestService:
    def test_types(self, installed: Install, chosen: Answers) -> None:
        """`mypy` passes, strict, with what the project itself installs."""
        assert not (said := installed(chosen).complaints("-m", "mypy")), said

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
            options += parts(project.path, chosen)
        said = project.complaints("-m", "pytest", *options, **variables(chosen))
        assert not said, said
        driver = chosen["database_driver"]
        counts = contract_counts(report)
        assert set(counts) == stores(chosen)
        for store, count in counts.items():
            kept_in = "dict" if store == "memory" else driver
            record_property("contract", f"{driver}: {count} passed over {kept_in}")

    @corner("bare", "asyncpg+tiered", "psycopg+redis", "asyncmy+no-cache")
    def test_slow_tests(
        self, installed: Install, answers: Answers, pytestconfig: pytest.Config
    ) -> None:
        """So do those that start processes; `.ci/run` runs all of them on the defaults.

        With a server, those that are about it: how to stop does not depend on what is kept where.
        """
        options = ["--numprocesses=0", "--no-cov", "-m", "slow", *required(pytestconfig, answers)]
        options += ["tests/infra", "tests/catalog"] if servers(answers) else []
        said = installed(answers).complaints("-m", "pytest", *options, **variables(answers))
        assert not said, said
