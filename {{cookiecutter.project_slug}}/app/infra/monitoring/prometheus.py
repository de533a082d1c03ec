"""Figures for Prometheus, right with any number of processes.

Each process writes its figures to files of its own in one directory, which any of them can add up,
as the client of Prometheus does when `PROMETHEUS_MULTIPROC_DIR` names one. It looks there when it
is imported, which is why functions below import it.
"""

import asyncio
import atexit
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from pydantic import AfterValidator, Field, SecretStr

from app.infra import listener
from app.infra.monitoring import prometheus_files
from app.infra.monitoring.instruments import Counter, Gauge, Histogram, Instrument, Record
from app.infra.monitoring.prometheus_histograms import Observations
from app.infra.monitoring.recorder import Recorder
from app.infra.monitoring.settings import DURATION_BUCKETS, Buckets, MonitoringSettings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

logger = structlog.get_logger()

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_observations = Observations()
_ACROSS = {"sum": "livesum", "max": "livemax", "latest": "livemostrecent"}


_OBJECTIVE_SECONDS = 0.5


def _with_objective(bounds: list[float]) -> list[float]:
    if _OBJECTIVE_SECONDS not in bounds:
        raise ValueError(f"{_OBJECTIVE_SECONDS} has to be among them, which the alerts count by")
    return bounds


class PrometheusSettings(MonitoringSettings):
    duration_buckets_seconds: Annotated[Buckets, AfterValidator(_with_objective)] = DURATION_BUCKETS
    """Upper bounds of the buckets that durations are counted in, as JSON."""

    host: str = "127.0.0.1"
    """Address to tell figures at, to whoever asks; 0.0.0.0 where Prometheus is on another host."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    """Port at which the service tells its figures, at `/metrics`; 0 takes a free one."""

    worker_port: Annotated[int, Field(ge=0, le=65_535)] = 9465
    """The same port of a worker."""

    token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """With it, the service tells its figures at its own port, to who sends it as bearer token."""


class Prometheus(Recorder):
    """Keeps figures where `registry` finds them."""

    def __init__(self, settings: MonitoringSettings) -> None:
        if _DIRECTORY not in os.environ:
            # Nobody started this process to serve with others.
            _make_directory()
        prometheus_files.live(Path(os.environ[_DIRECTORY]), os.getpid())
        from prometheus_client import values

        if not values.ValueClass._multiprocess:  # noqa: SLF001  # it offers no other seam
            # Somebody imported it before there was a directory.
            values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        self._settings = settings

    def of(self, instrument: Instrument) -> Record | None:
        family = self._family(instrument)
        if isinstance(instrument, Histogram):
            return _observations.of(family)
        counts = isinstance(instrument, Counter)
        children: dict[tuple[str, ...], Any] = {}

        def record(amount: float, labels: tuple[str, ...]) -> None:
            child = children.get(labels)
            if child is None:
                series = family.labels(*labels) if labels else family
                # Each request is counted: past the checks of what is right here.
                child = series._value.inc if counts else series.set  # noqa: SLF001
                children[labels] = child
            child(amount)

        return record

    async def close(self) -> None:
        _observations.write()

    def _family(self, instrument: Instrument) -> Any:
        import prometheus_client

        # In no registry: `registry` reads the files.
        about: Any = {
            "name": instrument.name,
            "documentation": instrument.description,
            "labelnames": instrument.labels,
            "registry": None,
        }
        if isinstance(instrument, Histogram):
            buckets = instrument.buckets or self._settings.duration_buckets_seconds
            return prometheus_client.Histogram(**about, buckets=buckets)
        if isinstance(instrument, Gauge):
            mode: Any = _ACROSS[instrument.across]
            return prometheus_client.Gauge(**about, multiprocess_mode=mode)
        assert isinstance(instrument, Counter)  # noqa: S101
        return prometheus_client.Counter(**about)


def registry() -> "CollectorRegistry":
    """The figures of all processes of the service, added up each time that they are asked for."""
    from prometheus_client import CollectorRegistry, multiprocess

    class Processes(multiprocess.MultiProcessCollector):
        def collect(self) -> Any:
            with suppress(RuntimeError):  # in a thread, it may be observed meanwhile
                asyncio.get_running_loop()
                _observations.write()
            directory = Path(os.environ[_DIRECTORY])
            with prometheus_files.turn(directory):
                return self.merge(prometheus_files.tidy(directory))  # type: ignore[no-untyped-call]

    everything = CollectorRegistry()
    Processes(everything)  # type: ignore[no-untyped-call]
    return everything


@contextmanager
def exposed(settings: PrometheusSettings, *, worker: bool = False) -> Iterator[None]:
    """Have a directory for the figures of the processes that are started in the block.

    They are told at `/metrics`, at a port of their own: always for a worker, for the service unless
    it has a token.

    Raises:
        StartupError: nothing can listen there.
    """
    port = settings.worker_port if worker else settings.port
    told = worker or settings.token is None
    if told:
        name = "APP_MONITORING__WORKER_PORT" if worker else "APP_MONITORING__PORT"
        listener.require_free(settings.host, port, choose=name)
    _make_directory()
    with _served(settings.host, port) if told else nullcontext():
        yield


def _make_directory() -> None:
    """Of this run alone: what an earlier one has left would be added up as well."""
    directory = str(prometheus_files.make_directory())
    os.environ[_DIRECTORY] = directory
    atexit.register(_remove, directory)


def _remove(directory: str) -> None:
    from prometheus_client import values

    values.close_all_multiprocess_files()  # type: ignore[no-untyped-call]
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _served(host: str, port: int) -> Iterator[None]:
    from prometheus_client import start_http_server

    server, thread = start_http_server(port, addr=host, registry=registry())
    logger.info("metrics are told", host=host, port=server.server_port, path="/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
