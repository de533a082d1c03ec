"""`python -m app worker`, and `serve --with-worker`."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import click

from app.infra import listener
from app.infra.http.settings import HttpSettings
from app.infra.tasks.broker import BrokerSettings

Settings = TypeVar("Settings")


def add_to(
    group: click.Group,
    application: str,
    load: Callable[[], Settings],
    choose: Callable[[Settings], tuple[HttpSettings, BrokerSettings]],
    prepare: Callable[[Settings], Coroutine[Any, Any, None]],
    beside: Callable[[Settings], AbstractContextManager[None]],
) -> None:
    """Add the command, and the option of `serve`.

    `application` is where a server finds the worker, `load` reads the settings and `choose` takes
    from them what is needed here; `prepare` is done before the worker starts, within `beside`,
    which surrounds it.
    """

    @group.command()
    @click.option(
        "--concurrency",
        type=click.IntRange(1, 1_000),
        help="Jobs at once  [default: APP_TASKS__CONCURRENCY]",
    )
    @click.option(
        "--health-port",
        type=click.IntRange(0, 65_535),
        help="Port of its health checks  [default: APP_TASKS__HEALTH_PORT]",
    )
    def worker(concurrency: int | None, health_port: int | None) -> None:
        """Perform tasks until SIGTERM or Ctrl-C.

        No new ones are begun then, and those that run have APP_TASKS__STOP_TIMEOUT_SECONDS; what
        has not finished begins again elsewhere. `/health/live` and `/health/ready` are served at
        the health port.
        """
        if concurrency is not None:
            os.environ["APP_TASKS__CONCURRENCY"] = str(concurrency)
        if health_port is not None:
            os.environ["APP_TASKS__HEALTH_PORT"] = str(health_port)
        settings = load()
        http, tasks = choose(settings)
        with beside(settings):
            either = "--health-port or APP_TASKS__HEALTH_PORT"
            listener.require_free(http.host, tasks.health_port, choose=either)
            asyncio.run(prepare(settings))
            run(application, http, tasks)

    with_worker = click.Option(
        ["--with-worker"],
        is_flag=True,
        expose_value=False,
        callback=_start_beside,
        help="Run a worker beside it, for development.",
    )
    group.commands["serve"].params.append(with_worker)


def run(application: str, http: HttpSettings, tasks: BrokerSettings) -> None:
    """Serve the health checks of a worker, which performs tasks as long as it does.

    Raises:
        SystemExit: it does not start; the log says why. The status is 1.
    """
    # Here, for whoever only asks for the commands needs no server.
    import uvicorn

    from app.infra.http import server

    server.run(
        uvicorn.Config(
            application,
            factory=True,
            host=http.host,
            port=tasks.health_port,
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=http.stop_timeout_seconds,
        ),
        drain_seconds=0,
    )


def _start_beside(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    worker = subprocess.Popen([sys.executable, "-m", "app", "worker"])  # ourselves

    @context.call_on_close
    def stop() -> None:
        worker.terminate()
        worker.wait()
