"""Draw each panel of the dashboards from a real run into `docs/`, and write `docs/dashboard.md`.

    uv run python scripts/dashboard_plots.py

bakes a service with PostgreSQL, Redis and a worker, has a real Prometheus look at it under a mixed
load during which its cache hangs for a while, and asks for what each panel asks for. It takes three
minutes, and needs prometheus, redis-server, and PostgreSQL and Redis at their standard ports. With
`--page` it writes only the page, after a change of descriptions; the images stay.
"""

import argparse
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter
from plots import Curve, draw

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from choices import CORNERS, complete  # noqa: E402  # of the template's tests
from monitored import Watched, watched  # noqa: E402
from project import install  # noqa: E402
from prometheus import PORTS, dashboards, panel_queries, rules  # noqa: E402
from services import databases  # noqa: E402
from template import export  # noqa: E402

PAGE = ROOT / "docs" / "dashboard.md"
IMAGES = ROOT / "docs" / "images" / "dashboard"
MONITORING = ROOT / "{{cookiecutter.project_slug}}" / "monitoring"
SECONDS = 150
CLIENTS = 4
HANGS_SECONDS = (80, 95)
RATE_INTERVAL = "10s"
STEP_SECONDS = 2


def runbook() -> str:
    """Every alert, and what to do about it, as a table."""
    lines = ["| alert | severity | file | what to do |", "| --- | --- | --- | --- |"]
    for name, rule in rules(MONITORING):
        if "alert" in rule:
            said, severity = rule["annotations"]["description"], rule["labels"]["severity"]
            lines.append(f"| `{rule['alert']}` | {severity} | `{name}.yml` | {said} |")
    return "\n".join(lines)


def gallery() -> str:
    """The plots of every panel, as Markdown."""
    lines = []
    for name, dashboard in dashboards(MONITORING):
        lines += [f"### {dashboard['title']}", "", f"{dashboard['description']}.", ""]
        for panel in dashboard["panels"]:
            alternative = f"{panel['title']}: {panel['description']}"
            lines += [f"![{alternative}](images/dashboard/{image_name(name, panel)})", ""]
    return "\n".join(lines).rstrip()


def image_name(dashboard: str, panel: Any) -> str:
    """The file of a panel's plot."""
    words = re.sub("[^a-z0-9]+", "-", panel["title"].lower()).strip("-")
    return f"{dashboard}-{panel['id']:02}-{words}.svg"


def page(text: str) -> str:
    """The page `text` with the alerts and the panels of today."""
    for part, content in {"alerts": runbook(), "plots": gallery()}.items():
        begin, end = f"<!-- {part}: begin (scripts/dashboard_plots.py) -->", f"<!-- {part}: end -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            sys.exit(f"{PAGE.name} has lost the lines {begin!r} and {end!r}: put them back.")
        text = f"{before}{begin}\n\n{content}\n\n{end}{after}"
    return text


def run_load(service: Watched) -> tuple[float, float]:
    """Let some clients come and go for a while; when they began, and when they ended."""
    began = time.time()

    def elapsed() -> float:
        return time.time() - began

    def visit_for_a_while() -> None:
        while elapsed() < SECONDS:
            service.visit()
            # More and fewer of them, as over a day.
            time.sleep(0.15 * (1.2 + math.sin(elapsed() / SECONDS * 4 * math.pi)))

    def hang() -> None:
        if service.redis is None:
            return
        _sleep_until(elapsed, HANGS_SECONDS[0])
        service.redis.pause()
        _sleep_until(elapsed, HANGS_SECONDS[1])
        service.redis.resume()

    with ThreadPoolExecutor(CLIENTS + 1) as threads:
        running = [threads.submit(hang)]
        running += [threads.submit(visit_for_a_while) for _ in range(CLIENTS)]
        for each in running:
            each.result()
    return began, time.time()


def _sleep_until(elapsed: Callable[[], float], seconds: float) -> None:
    time.sleep(max(0.0, seconds - elapsed()))


def curves(service: Watched, panel: Any, began: float, ended: float) -> list[Curve]:
    """What a panel shows of the run."""
    found = []
    for query in panel_queries(panel, "", RATE_INTERVAL):
        for series in service.prometheus.series(query.expression, began, ended, STEP_SECONDS):
            name = query.legend
            for label, value in series.labels.items():
                name = name.replace(f"{{{{{label}}}}}", value)
            for job, port in service.ports.items():
                name = name.replace(str(port), str(PORTS[job]))
            found.append(Curve(name, [(x - began, y) for x, y in series.points]))
    return found


def draw_all() -> None:
    """Run a service, and draw what its panels show."""
    answers = complete(CORNERS["asyncpg+tiered"])
    with tempfile.TemporaryDirectory() as name, databases(sys.exit) as make:
        folder = Path(name)
        template = export(folder / "template")
        baked = cookiecutter(
            str(template), no_input=True, extra_context=answers, output_dir=str(folder / "baked")
        )
        project = install(Path(baked))
        with watched(project, answers, make(project, answers), folder) as service:
            began, ended = run_load(service)
            IMAGES.mkdir(parents=True, exist_ok=True)
            for image in IMAGES.glob("*.svg"):
                image.unlink()
            for title, dashboard in dashboards(MONITORING):
                for panel in dashboard["panels"]:
                    svg = draw(panel, curves(service, panel, began, ended), SECONDS)
                    (IMAGES / image_name(title, panel)).write_text(svg, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="write the page, run nothing")
    if not parser.parse_args().page:
        draw_all()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
