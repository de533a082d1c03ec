"""Bakes and environments, made once for each answer, and a summary of what was baked."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from choices import Answers, environments, name
from hypothesis import settings
from project import Installed, install
from pytest_cookies.plugin import Cookies
from services import database as database
from services import redis as redis
from template import export

# The same examples each time, however slow the machine is.
settings.register_profile("template", deadline=None, derandomize=True)
settings.load_profile("template")

Bake = Callable[[Answers], Path]
Install = Callable[[Answers], Installed]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("template")
    group.addoption(
        "--pairwise",
        choices=["slice", "full"],
        default="slice",
        help="how many rows of the pairwise set get an environment beside the corners",
    )
    group.addoption(
        "--write-budgets",
        action="store_true",
        help="write what requests cost now into tests/budgets/budgets.json, instead of comparing",
    )
    group.addoption(
        "--require-services",
        action="store_true",
        help="fail, instead of skipping, the tests whose server does not answer",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `chosen` runs once for each answer that gets an environment."""
    if "chosen" in metafunc.fixturenames:
        rows = environments(metafunc.config.getoption("pairwise"))
        metafunc.parametrize(
            "chosen",
            [
                pytest.param(answers, id=label, marks=pytest.mark.xdist_group(name(answers)))
                for label, answers in rows
            ],
        )


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the working tree, for reading."""
    return export(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def baked() -> dict[str, Path]:
    return {}


@pytest.fixture
def bake(
    cookies_session: Cookies,
    template: Path,
    baked: dict[str, Path],
    record_property: Callable[[str, object], None],
) -> Bake:
    """Bake these answers, or find them baked. For reading: whoever writes there makes a copy."""

    def bake_once(answers: Answers) -> Path:
        key = repr(sorted(answers.items()))
        record_property("baked", name(answers))
        if key not in baked:
            result = cookies_session.bake(extra_context=answers, template=str(template))
            assert result.exception is None, result.exception
            baked[key] = result.project_path
        return baked[key]

    return bake_once


@pytest.fixture(scope="session")
def installed_projects() -> Iterator[dict[str, Installed]]:
    projects: dict[str, Installed] = {}
    yield projects
    for project in projects.values():
        shutil.rmtree(project.path.parent)


@pytest.fixture
def installed(
    bake: Bake,
    installed_projects: dict[str, Installed],
    record_property: Callable[[str, object], None],
) -> Install:
    """Bake these answers and install what they depend on, or find that done."""

    def install_once(answers: Answers) -> Installed:
        key = name(answers)
        record_property("installed", key)
        if key not in installed_projects:
            installed_projects[key] = install(bake(answers))
        return installed_projects[key]

    return install_once


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was baked, and how each law fared."""
    reports = [
        report
        for outcome in ("passed", "failed", "error")
        for report in terminalreporter.stats.get(outcome, [])
    ]
    for verb in ("baked", "installed", "contract"):
        made = sorted(
            {value for report in reports for key, value in report.user_properties if key == verb}
        )
        if made:
            terminalreporter.section(f"{verb}: {len(made)}")
            terminalreporter.line("\n".join(made))

    laws: dict[str, list[str]] = {}
    for report in reports:
        if law := re.search(r"test_law_(\d\d)_(\w+)\.py", report.nodeid):
            laws.setdefault(f"{law[1]} {law[2].replace('_', ' ')}", []).append(report.outcome)
    if laws:
        terminalreporter.section("laws")
        for title, outcomes in sorted(laws.items()):
            counts = ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes)))
            terminalreporter.line(f"law {title}: {counts}")
