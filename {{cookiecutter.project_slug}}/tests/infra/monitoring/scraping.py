"""Looking at the figures of services that run as processes of their own, as Prometheus does."""

import re
import time
from collections.abc import Callable
from typing import TypeVar

import httpx2

from tests.infra.monitoring.prometheus_backend import Scrape

PATIENCE_SECONDS = 60
OFTEN = {"APP_MONITORING__SAMPLE_SECONDS": "0.2"}
"""Settings with which what is looked at now and then is looked at often."""

T = TypeVar("T")


def eventually(probe: Callable[[], T | None]) -> T:
    """The first answer of `probe` that is one."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := probe()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def told_at(read_log: Callable[[], str]) -> int:
    """The port at which figures are told, which the log says."""

    def port() -> int | None:
        lines = [line for line in read_log().splitlines() if "metrics are told" in line]
        found = re.search(r'"port": ?(\d+)', lines[0]) if lines else None
        return int(found[1]) if found else None

    return eventually(port)


def scrape(port: int) -> Scrape:
    """The figures that are told at `port`."""
    answer = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS)
    assert answer.status_code == 200
    return Scrape.of(answer.text)
