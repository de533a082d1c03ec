"""What monitoring costs a request of the shortest route, beside the same service without it.

    uv run python -m benchmarks.monitoring

CPU time of the server per request; both serve all the while and are asked in turns, since a machine
in another mood costs more than what is looked for. Medians, and the median of the ratios of turns.
Linux only: it reads /proc.
"""

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.compare import ask
from benchmarks.load import require_wrk
from benchmarks.subjects import TRIVIAL, Subject, bake, service

TURNS = 40
SECONDS = 1
CHOICES = ("none", "prometheus")


@click.command(help=__doc__)
def main() -> None:
    require_wrk()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        servers = {
            choice: stack.enter_context(monitored(Path(scratch), choice).served())
            for choice in CHOICES
        }
        figures: dict[str, list[float]] = {choice: [] for choice in CHOICES}
        for number in range(TURNS + 1):
            for choice in CHOICES if number % 2 else reversed(CHOICES):
                measured = ask(servers[choice], TRIVIAL, seconds=SECONDS, what=choice)
                if number:  # the first warms up
                    figures[choice].append(measured.cpu_us)
    base = figures["none"]
    click.echo(f"{TURNS} turns of {SECONDS} s")
    for choice, found in figures.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(found, base, strict=True))
        median = statistics.median(found)
        click.echo(f"{choice:<12} {median:6.1f} µs of CPU time  {ratio:5.3f} x none")


def monitored(scratch: Path, choice: str) -> Subject:
    """The service with its defaults, but for who collects its figures."""
    project = bake(scratch, monitoring=choice)
    url = f"sqlite+aiosqlite:///{project}/benchmark.db"
    return service(choice, project, {}, url=url)


if __name__ == "__main__":
    main()
