"""What was measured, for people and for programs."""

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare import BASE, GOALS, RAW, Measure, Measures
from benchmarks.plots import bars

COLUMNS = ("", "request", "µs of CPU", "ratio", "lowest - highest", "requests/s", "p50", "p99")


def rows(found: Measures) -> Iterator[dict[str, Any]]:
    """Medians over the rounds, and CPU time beside bare FastAPI's; more is better."""
    base = _median(found[BASE, "trivial"], lambda each: each.cpu_us)
    for (subject, scenario), measures in found.items():
        cpu_us = _median(measures, lambda each: each.cpu_us)
        yield {
            "subject": subject,
            "request": scenario,
            "cpu_us": cpu_us,
            "ratio": base / cpu_us,
            "cpu_us_lowest": min(each.cpu_us for each in measures),
            "cpu_us_highest": max(each.cpu_us for each in measures),
            "requests_per_second": _median(measures, lambda x: x.load.requests / x.load.seconds),
            "p50_ms": _median(measures, lambda each: each.load.p50_ms),
            "p99_ms": _median(measures, lambda each: each.load.p99_ms),
            "rounds": len(measures),
        }


def table(found: Measures) -> str:
    """For Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for row in rows(found):
        spread = f"{row['cpu_us_lowest']:.0f} - {row['cpu_us_highest']:.0f}"
        figures = (
            f"{row['cpu_us']:.0f}",
            f"{row['ratio']:.2f}",
            spread,
            f"{row['requests_per_second']:,.0f}",
            f"{row['p50_ms']:.1f} ms",
            f"{row['p99_ms']:.1f} ms",
        )
        lines.append((row["subject"], row["request"], *figures))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(found: Measures, path: Path) -> None:
    """As JSON."""
    path.write_text(json.dumps(list(rows(found)), indent=2, ensure_ascii=False) + "\n")


def drawn(found: Measures) -> str:
    """The ratios as SVG, with a mark at each goal."""
    named = [(f"{row['subject']}: {row['request']}", row["ratio"]) for row in rows(found)]
    short = {name: name.removeprefix("the service, ") for name, _ in named}
    return bars(
        "CPU time of bare FastAPI's trivial route, beside that of each (more is better)",
        [(short[name], ratio) for name, ratio in named if name != f"{RAW}: trivial"],
        marks={short[name]: goal for name, goal in GOALS.items() if name in short},
    )


def _median(measures: Sequence[Measure], figure: Callable[[Measure], float]) -> float:
    return statistics.median(map(figure, measures))
