"""What a Prometheus makes of a project: every query has data, every file is well-formed."""

import re
import shutil
from pathlib import Path

import pytest
from choices import CORNERS, Answers, combinations, complete, corner, each
from conftest import Bake, Install
from monitored import watched
from project import complaints, python_files
from prometheus import PROGRAMS, queries, rules
from services import Database, require_or_skip

PROMETHEUS = [row for row in combinations() if row["monitoring"] == "prometheus"]


@pytest.fixture
def programs(pytestconfig: pytest.Config) -> None:
    """Skip without Prometheus."""
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        require_or_skip(pytestconfig, f"{' and '.join(missing)} not on PATH: install Prometheus")


def rooms(monitoring: Path) -> set[str]:
    """What there is a file of, be it a dashboard, alerts, or tests of these."""
    paths = [*monitoring.rglob("alerts/**/*.yml"), *monitoring.rglob("dashboards/*.json")]
    return {path.stem for path in paths}


def instruments(project: Path) -> set[str]:
    """The names that the project's own code gives to what it records."""
    declared = re.compile(r'\b(?:Counter|Gauge|Histogram)\(\s*"(\w+)"')
    sources = (path.read_text(encoding="utf-8") for path in python_files(project / "app"))
    return {name for source in sources for name in declared.findall(source)}


class TestFiles:
    @each(PROMETHEUS)
    def test_there_is_one_for_each_room(self, bake: Bake, answers: Answers) -> None:
        """And none for what was not chosen."""
        has = {
            "cache": answers["cache_backend"] != "none",
            "database": answers["database_driver"] != "none",
            "http": True,
            "process": True,
            "resilience": answers["cache_backend"] in {"redis", "tiered"},
            "tasks": answers["task_queue"] != "none",
            "worker": answers["task_queue"] not in {"in-process", "none"},
        }
        assert rooms(bake(answers) / "monitoring") == {room for room in has if has[room]}

    @pytest.mark.usefixtures("programs")
    @each(PROMETHEUS)
    def test_prometheus_reads_them(self, bake: Bake, answers: Answers) -> None:
        """The configuration and its rules; and the tests of these pass."""
        monitoring = bake(answers) / "monitoring"
        said = complaints(["promtool", "check", "config", "prometheus.yml"], monitoring)
        assert not said, said
        tests = (monitoring / "alerts" / "tests").glob("*.yml")
        assert not (said := complaints(["promtool", "test", "rules", *tests], monitoring)), said

    @each(PROMETHEUS)
    def test_every_instrument_is_asked_for(self, bake: Bake, answers: Answers) -> None:
        """By one query at least: what nobody looks at need not be recorded."""
        project = bake(answers)
        asked = " ".join(query.expression for query in queries(project / "monitoring", "1m"))
        assert {name for name in instruments(project) if name not in asked} == set()

    def test_they_are_copied_as_they_are(self, bake: Bake, template: Path) -> None:
        """Their own braces are none of Jinja's."""
        baked = bake(CORNERS["asyncpg+tiered"]) / "monitoring"
        source = template / "{{cookiecutter.project_slug}}" / "monitoring"
        braces = 0
        for path in [*baked.rglob("alerts/**/*.yml"), *baked.rglob("dashboards/*.json")]:
            assert path.read_bytes() == (source / path.relative_to(baked)).read_bytes()
            braces += b"{{" in path.read_bytes()
        assert braces


@pytest.mark.environment
@pytest.mark.usefixtures("programs")
class TestQueries:
    @corner("defaults", "asyncpg+tiered", "psycopg+redis")
    def test_each_has_data(
        self,
        installed: Install,
        database: Database,
        answers: Answers,
        tmp_path: Path,
    ) -> None:
        """Every one of the dashboards and the rules, once everything has happened."""
        answers = complete(answers)
        project = installed(answers)
        settings = database(project, answers)
        monitoring = project.path / "monitoring"
        # Over a minute, whatever Grafana would take for a scrape per second.
        pending = queries(monitoring, "1m")
        assert len(pending) > len(list(rules(monitoring)))

        with watched(project, answers, settings, tmp_path) as service:

            def all_have_data() -> bool:
                pending[:] = [q for q in pending if not service.prometheus.values(q.expression)]
                return not pending

            service.visit()
            if service.redis is not None:
                service.visit_without_redis()
            try:
                service.visit_until(all_have_data)
            except AssertionError:
                pytest.fail("\n".join(f"{q.place}: {q.expression}" for q in pending))
            unwell = [rule for rule in service.prometheus.rules() if rule["health"] != "ok"]
            assert not unwell
