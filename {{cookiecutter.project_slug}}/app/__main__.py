"""`python -m app`: run the service and look after it."""

import asyncio
import json
import os
import sys

import click
import uvicorn
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app import bootstrap
from app.about import read_about
from app.errors import ServiceError, StartupError
from app.infra import listener, logs, profiling
from app.infra.http import server
from app.main import create_app
from app.settings import Settings, describe, example, load_settings


@click.group(
    help=f"{read_about().name}: run the service and look after it.",
    epilog="Settings are environment variables or lines in .env; `settings` lists them.",
)
def cli() -> None:
    """Collects the commands below and those of the parts that bootstrap names."""


@cli.command()
@click.option("--host", help="Address to listen at  [default: APP_HTTP__HOST]")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port  [default: APP_HTTP__PORT]")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes  [default: APP_HTTP__WORKERS]"
)
@click.option(
    "--reload/--no-reload",
    default=None,
    help="Restart when the code changes  [default: in development, with one worker]",
)
def serve(host: str | None, port: int | None, workers: int | None, reload: bool | None) -> None:
    """Serve HTTP until SIGTERM or Ctrl-C.

    In development, what the service needs is made ready first; in production it has to be. On
    SIGTERM, requests are still taken for APP_HTTP__DRAIN_SECONDS while readiness answers 503, then
    those in flight are finished.
    """
    if host is not None:
        os.environ["APP_HTTP__HOST"] = host
    if workers is not None:
        # Each worker reads the settings, and divides by this what all of them share.
        os.environ["APP_HTTP__WORKERS"] = str(workers)
    settings = _load()
    http = settings.http
    workers = http.workers
    if workers > 1 and (room := bootstrap.single_process_room()):
        raise StartupError(
            f"{room} keeps its data in one process; start one worker, or move the data out first."
        )
    if reload is None:
        reload = not settings.production and workers == 1
    port = http.port if port is None else port
    config = uvicorn.Config(
        "app.main:from_environment",
        factory=True,
        host=http.host,
        port=port,
        workers=workers,
        reload=reload,
        reload_dirs=["app"] if reload else None,
        lifespan="on",
        http=bootstrap.HTTP_PROTOCOL,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(http.trusted_proxies),
        forwarded_allow_ips=http.trusted_proxies,
        timeout_graceful_shutdown=http.stop_timeout_seconds,
        timeout_worker_healthcheck=http.worker_timeout_seconds,
    )
    with bootstrap.beside(settings):
        listener.require_free(http.host, port)
        asyncio.run(bootstrap.prepare(settings))
        server.run(config, drain_seconds=settings.drain_seconds)


@cli.command()
def routes() -> None:
    """List the routes: methods, path, handler."""
    for route in iter_route_contexts(create_app(_load()).routes):
        methods = ",".join(sorted(route.methods or ()))
        click.echo(f"{methods:<8} {route.path:<45} {route.name}")


@cli.command()
def openapi() -> None:
    """Print the OpenAPI description as JSON."""
    document = create_app(_load()).openapi()
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


@cli.command()
@click.option("--example", "as_example", is_flag=True, help="Print the text of .env.example.")
def settings(as_example: bool) -> None:
    """Print the settings in force, secrets masked."""
    if as_example:
        click.echo(example(), nl=False)
        return
    for variable, value, _description in describe(_load()):
        click.echo(f"{variable}={value}")


async def _prepare() -> FastAPI:
    settings = _load()
    # A line for each of many requests would tell nobody anything.
    logs.configure(settings.logs.model_copy(update={"level": "warning"}))
    await bootstrap.prepare(settings)
    return create_app(settings)


def _load() -> Settings:
    settings = load_settings()
    logs.configure(settings.logs)
    return settings


def main() -> None:
    """Run a command; what stops it is told in one sentence, with exit status 1."""
    bootstrap.add_commands(cli, _load)
    profiling.add_to(cli, _prepare)
    try:
        cli(prog_name="python -m app")
    except (StartupError, ServiceError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
