"""A Prometheus of the test's own, which looks at a service as the project's configuration says."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import httpx2
import yaml
from services import PATIENCE_SECONDS

PROGRAMS = ("prometheus", "promtool")
PORTS = {"service": 9464, "worker": 9465}
"""At which the project's configuration expects them."""

# What an alert compares with: a number, or a product of two.
_BOUND = re.compile(r"(?:[=<>]=|[<>])\s*[\d.]+(?:\s*\*\s*[\d.]+)?")
_ABSENT = re.compile(r"absent\((.*)\)")


@dataclass(frozen=True)
class Query:
    """What is asked of Prometheus, and where it stands."""

    place: str
    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Series:
    """What one combination of labels was, at moments in seconds since 1970."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Prometheus:
    """A server process at a free port."""

    def __init__(self, monitoring: Path, folder: Path, ports: dict[str, int]) -> None:
        """`monitoring` is the project's folder, `ports` are those at which figures are told."""
        shutil.copytree(monitoring, folder / "monitoring")
        configuration = folder / "monitoring" / "prometheus.yml"
        text = configuration.read_text(encoding="utf-8").replace(": 15s", ": 1s")
        for job, expected in PORTS.items():
            told = ports.get(job, expected)
            text = text.replace(f"host.docker.internal:{expected}", f"127.0.0.1:{told}")
        configuration.write_text(text, encoding="utf-8")
        address = f"127.0.0.1:{free_port()}"
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--log.level=error",
            ]
        )
        self._client = httpx2.Client(base_url=f"http://{address}", timeout=30)
        self._await()

    def values(self, expression: str) -> list[float]:
        """What an expression is now, but for what is no number."""
        found = self._ask("query", query=expression)["result"]
        values = [float(series["value"][1]) for series in found]
        return [value for value in values if isfinite(value)]

    def series(self, expression: str, begin: float, end: float, step: float) -> list[Series]:
        """What an expression was between two moments, `step` seconds apart."""
        found = self._ask("query_range", query=expression, start=begin, end=end, step=step)
        return [
            Series(
                each["metric"],
                [(moment, float(v)) for moment, v in each["values"] if isfinite(float(v))],
            )
            for each in found["result"]
        ]

    def rules(self) -> list[Any]:
        """The state of each rule."""
        groups = self._ask("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def close(self) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait()

    def _ask(self, what: str, **parameters: str | float) -> Any:
        answer = self._client.get(f"/api/v1/{what}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def _await(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            assert self._process.poll() is None, "Prometheus has ended"
            assert time.monotonic() < deadline
            try:
                if self._client.get("/-/ready").status_code == 200:
                    return
            except httpx2.ConnectError:
                time.sleep(0.05)


@contextmanager
def looking(monitoring: Path, folder: Path, ports: dict[str, int]) -> Iterator[Prometheus]:
    """A Prometheus, while the context lasts."""
    server = Prometheus(monitoring, folder, ports)
    try:
        yield server
    finally:
        server.close()


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def dashboards(monitoring: Path) -> Iterator[tuple[str, Any]]:
    """Each dashboard and the name of its file."""
    for path in sorted((monitoring / "grafana" / "dashboards").glob("*.json")):
        yield path.stem, json.loads(path.read_text(encoding="utf-8"))


def panel_queries(panel: Any, place: str, rate_interval: str) -> list[Query]:
    """What a panel asks for, with what Grafana would put in for its variable."""
    return [
        Query(
            place,
            target["expr"].replace("$__rate_interval", rate_interval),
            target["legendFormat"],
        )
        for target in panel["targets"]
    ]


def rules(monitoring: Path) -> Iterator[tuple[str, Any]]:
    """Each rule and the name of its file."""
    for path in sorted((monitoring / "alerts").glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield path.stem, rule


def operands(expression: str) -> str:
    """What an alert compares with its bounds: it has data also when nothing is wrong."""
    return _ABSENT.sub(r"\1", _BOUND.sub("", expression))


def queries(monitoring: Path, rate_interval: str) -> list[Query]:
    """Every one of the dashboards and the rules."""
    found = []
    for name, dashboard in dashboards(monitoring):
        for panel in dashboard["panels"]:
            found += panel_queries(panel, f"{name}.json, {panel['title']}", rate_interval)
    for name, rule in rules(monitoring):
        title = rule.get("alert") or rule["record"]
        expression = operands(rule["expr"]) if "alert" in rule else title
        found.append(Query(f"{name}.yml, {title}", expression))
    return found
