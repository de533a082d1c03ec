"""What OpenTelemetry costs without a collector, beside FastAPI's own telemetry and beside nothing.

    uv run python -m benchmarks.tracing

CPU time of the server per request to the same service, which answers from memory; medians of
interleaved rounds. FastAPI's own has the SDK's providers, with nothing that exports. Linux only.
"""

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.cached_response import FACTORY, measure, served
from benchmarks.subjects import bake

ROUNDS = 15
PATH = "/"
BARE = {
    "database_driver": "none",
    "cache_backend": "none",
    "task_queue": "none",
    "example": "none",
}
NOTHING = "monitoring=none"
OURS = "monitoring=opentelemetry"
OWN = "FastAPI's own telemetry"
OWN_REQUESTS = "the same, of requests only"

# The service with `none`, handed other telemetry than `bootstrap` would.
NATIVE = """
from app import bootstrap, main
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

bootstrap.TELEMETRY = {{
    "tracer_provider": TracerProvider(),
    "meter_provider": MeterProvider(),
    "logger_provider": LoggerProvider(),
    "operation_spans": {operation_spans},
}}
make = main.from_environment
"""


@click.command(help=__doc__)
def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        without = bake(Path(scratch), **BARE, monitoring="none")
        traced = bake(Path(scratch), **BARE, monitoring="opentelemetry")
        for name, operation_spans in (("own", True), ("own_requests", False)):
            native = NATIVE.format(operation_spans=operation_spans)
            (without / f"{name}.py").write_text(native)
        applications = {
            NOTHING: (without, FACTORY[0]),
            OWN: (without, "own:make"),
            OWN_REQUESTS: (without, "own_requests:make"),
            OURS: (traced, FACTORY[0]),
        }
        servers = {
            name: stack.enter_context(
                served(*of, *FACTORY[1:], path=PATH, APP_MONITORING__ENDPOINT="none")
            )
            for name, of in applications.items()
        }
        figures: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, server in servers.items():
                figures[name].append(measure(server, PATH))
    medians = {name: statistics.median(found) for name, found in figures.items()}
    for name, median in medians.items():
        more = median - medians[NOTHING]
        print(f"{name:<28} {median:6.1f} µs of CPU time  {more:+6.1f} µs")


if __name__ == "__main__":
    main()
