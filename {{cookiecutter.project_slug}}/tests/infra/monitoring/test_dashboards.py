"""The dashboards of Grafana."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.promql import MONITORING, known, metrics

DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))

each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def overlap(one: Any, other: Any) -> bool:
    """Whether two panels cover each other."""
    a, b = one["gridPos"], other["gridPos"]
    return bool(
        a["x"] < b["x"] + b["w"]
        and b["x"] < a["x"] + a["w"]
        and a["y"] < b["y"] + b["h"]
        and b["y"] < a["y"] + a["h"]
    )


class TestDashboards:
    def test_each_has_an_address_of_its_own(self) -> None:
        """Links to a dashboard go by its `uid`, in Grafana's 40 characters."""
        uids = [load(path)["uid"] for path in DASHBOARDS]
        assert len(set(uids)) == len(uids)
        assert all(0 < len(uid) <= 40 for uid in uids)

    @each_dashboard
    def test_every_series_is_told(self, path: Path) -> None:
        """A panel whose instrument was renamed stays empty, and nobody notices."""
        asked: set[str] = set()
        for panel in load(path)["panels"]:
            asked = asked.union(*(metrics(target["expr"]) for target in panel["targets"]))
        assert asked
        assert asked - known() == set()

    @each_dashboard
    def test_every_panel_explains_itself(self, path: Path) -> None:
        """It has a unit, a description, and the source of data that was chosen."""
        for panel in load(path)["panels"]:
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"]
            sources = [panel, *panel["targets"]]
            assert {source["datasource"]["uid"] for source in sources} == {"${datasource}"}

    @each_dashboard
    def test_panels_lie_side_by_side(self, path: Path) -> None:
        """Within the 24 columns of Grafana's grid, each with a number of its own."""
        panels = load(path)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
        assert not [(a["id"], b["id"]) for a, b in combinations(panels, 2) if overlap(a, b)]
