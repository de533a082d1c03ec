"""What monitoring costs a request of the shortest route, beside the same service without it.

    uv run python -m benchmarks.monitoring

CPU time of the server per request, which hardly moves with a busy machine; medians of interleaved
rounds, and the median of their ratios. Linux only: it reads /proc.
"""

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.cached_response import FACTORY, REQUESTS, measure, served
from benchmarks.subjects import bake

ROUNDS = 9
PATH = "/health/live"
CHOICES = ("none", "prometheus")


@click.command(help=__doc__)
def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        servers = {}
        for choice in CHOICES:
            project = bake(Path(scratch), monitoring=choice)
            servers[choice] = stack.enter_context(served(project, *FACTORY, path=PATH))
        figures: dict[str, list[float]] = {choice: [] for choice in CHOICES}
        for number in range(ROUNDS + 1):
            for choice, server in servers.items():
                spent = measure(server, PATH)
                if number:  # the first warms up
                    figures[choice].append(spent)
    base = figures["none"]
    print(f"{ROUNDS} rounds of {REQUESTS:,} requests")
    for choice, found in figures.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(found, base, strict=True))
        median = statistics.median(found)
        print(f"{choice:<12} {median:6.1f} µs of CPU time  {ratio:5.3f} x none")


if __name__ == "__main__":
    main()
