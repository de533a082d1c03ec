"""The alerts of Prometheus, and what is computed for them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.promql import MONITORING, RULES, expressions, known, metrics

PROMTOOL = shutil.which("promtool")

each_file = pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)


def cases_of(rules: Path) -> Path:
    """The file of promtool's tests of these rules."""
    return rules.parent / "tests" / rules.name


class TestRules:
    @each_file
    def test_every_series_is_told(self, rules: Path) -> None:
        """An alert whose instrument was renamed never fires, and nobody notices."""
        asked: set[str] = set().union(*(metrics(each) for each in expressions(rules)))
        assert asked
        assert asked - known() == set()

    @each_file
    def test_every_alert_is_tested(self, rules: Path) -> None:
        """In one case at least it fires."""
        tests = cases_of(rules).read_text(encoding="utf-8")
        for alert in re.findall(r"- alert: (\w+)", rules.read_text(encoding="utf-8")):
            cases = re.findall(rf"alertname: {alert}\n +exp_alerts:(.*)", tests)
            assert "" in cases, f"{alert} fires in no test of {cases_of(rules)}"

    @each_file
    def test_every_alert_says_what_to_do(self, rules: Path) -> None:
        """How urgent it is, what is wrong, and what to do about it."""
        _, *alerts = rules.read_text(encoding="utf-8").split("- alert: ")
        assert alerts
        for alert in alerts:
            assert re.search(r"severity: (page|ticket)\n", alert), alert
            assert "summary: " in alert, alert
            assert "description: " in alert, alert


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
class TestPromtool:
    def run(self, *arguments: str | Path) -> None:
        """`promtool …` passes."""
        ended = subprocess.run(
            [str(PROMTOOL), *arguments], check=False, capture_output=True, encoding="utf-8"
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def test_configuration(self) -> None:
        """What is asked, and that the rules are found and well-formed."""
        self.run("check", "config", MONITORING / "prometheus.yml")

    @each_file
    def test_alerts(self, rules: Path) -> None:
        """Each fires when it should, and not otherwise."""
        self.run("test", "rules", cases_of(rules))
