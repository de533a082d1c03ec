"""Measure the service: `python -m benchmarks`."""

import tempfile
from pathlib import Path

import click

from benchmarks import compare, report
from benchmarks.load import require_wrk


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Turns of every subject.")
@click.option("--seconds", default=3, show_default=True, help="Seconds of each measurement.")
@click.option(
    "--driver",
    "drivers",
    multiple=True,
    type=click.Choice(compare.DRIVERS),
    help="A database driver to measure; can be repeated. All, unless one is named.",
)
@click.option("--peers", is_flag=True, help="The service that fastapi_template makes, too.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="File for the figures.")
@click.option("--plot", type=click.Path(path_type=Path), help="SVG file to draw the ratios in.")
def main(
    rounds: int,
    seconds: int,
    drivers: tuple[str, ...],
    peers: bool,
    path: Path | None,
    plot: Path | None,
) -> None:
    """Compare the service with bare applications, by CPU time for each request."""
    require_wrk()
    with tempfile.TemporaryDirectory() as scratch:
        chosen = drivers or compare.DRIVERS
        with compare.subjects(Path(scratch), drivers=chosen, peers=peers) as subjects:
            found = compare.measure(subjects, rounds=rounds, seconds=seconds, warm_seconds=1)
    click.echo(report.table(found))
    if path is not None:
        report.write(found, path)
    if plot is not None:
        plot.write_text(report.drawn(found))


if __name__ == "__main__":
    main()
