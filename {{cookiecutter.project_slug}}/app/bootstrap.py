"""The composition root: which parts the service is made of, and how they meet.

The only module that knows the concrete parts. A slice has a folder of its own and its lines here;
without them it is gone.
"""

# {% if cookiecutter.database_driver != "none" %}
import logging
# {% endif %}
# {% if cookiecutter.cache_backend != "none" %}
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
# {% elif cookiecutter.task_queue != "none" %}
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
# {% else %}
from collections.abc import AsyncIterator, Callable, Iterator
# {% endif %}
# {% if cookiecutter.__opened %}
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
# {% else %}
from contextlib import asynccontextmanager, contextmanager
# {% endif %}
# {% if cookiecutter.cache_backend in ["memory", "tiered"] %}
from functools import partial
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
from pathlib import Path
from typing import TYPE_CHECKING, Any
# {% else %}
from typing import Any
# {% endif %}

import click
from fastapi import FastAPI
# {% if cookiecutter.monitoring != "opentelemetry" %}
from fastapi.telemetry import TelemetryConfig
# {% endif %}
from starlette.types import ASGIApp

# {% if cookiecutter.error_tracking == "sentry" or cookiecutter.monitoring == "opentelemetry" %}
from app.about import read_about
# {% endif %}
# {% if cookiecutter.example != "none" %}
# {% if cookiecutter.cache_backend != "none" %}
from app.catalog import cached as catalog_cached
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
from app.catalog import commands as catalog_commands
# {% endif %}
# {% if cookiecutter.task_queue != "none" %}
# {% if cookiecutter.cache_backend != "none" %}
from app.catalog import import_routes, rating_routes, recent_routes
# {% else %}
from app.catalog import import_routes, rating_routes
# {% endif %}
from app.catalog import jobs as catalog_jobs
# {% elif cookiecutter.cache_backend != "none" %}
from app.catalog import recent_routes
# {% endif %}
from app.catalog import routes as catalog_routes
# {% if cookiecutter.database_driver == "none" %}
from app.catalog.memory import MemoryStore
# {% endif %}
# {% if cookiecutter.task_queue != "none" %}
# {% if cookiecutter.cache_backend != "none" %}
from app.catalog.price_lists import PriceListStore
from app.catalog.price_lists_cached import CachedPriceLists
# {% else %}
from app.catalog.price_lists import PriceLists, PriceListStore
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
from app.catalog.price_lists_repository import DatabasePriceLists
# {% else %}
from app.catalog.price_lists_memory import MemoryPriceLists
# {% endif %}
from app.catalog.ratings import Ratings, RatingStore
# {% if cookiecutter.database_driver != "none" %}
from app.catalog.ratings_repository import DatabaseRatings
# {% else %}
from app.catalog.ratings_memory import MemoryRatings
# {% endif %}
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
from app.catalog.repository import DatabaseStore
# {% endif %}
# {% if cookiecutter.cache_backend != "none" %}
from app.catalog.service import Store
# {% else %}
from app.catalog.service import Catalog, Store
# {% endif %}
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
from app.errors import StartupError
# {% endif %}
# {% if cookiecutter.cache_backend != "none" %}
from app.infra.cache import Cache, HotRead, ResponsePolicy
# {% if cookiecutter.cache_backend != "memory" %}
from app.infra.cache import commands as cache_commands
# {% endif %}
# {% if cookiecutter.cache_backend == "memory" %}
from app.infra.cache.memory import Memory
# {% endif %}
# {% if cookiecutter.cache_backend == "redis" %}
from app.infra.cache.redis import RedisCache
# {% endif %}
# {% if cookiecutter.cache_backend in ["memory", "tiered"] %}
from app.infra.cache.ready import (
    LearningResponseCache,
    ReadyMiddleware,
    ReadyResponses,
    ready_in_front,
)
# {% else %}
from app.infra.cache.responses import ResponseCache
# {% endif %}
# {% if cookiecutter.monitoring != "none" %}
from app.infra.cache.samples import CacheSamples
# {% endif %}
# {% if cookiecutter.cache_backend == "tiered" %}
from app.infra.cache.tiered import Tiered
# {% endif %}
from app.infra.cache.warming import warmed
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
from app.infra.database import Base, Database
from app.infra.database import commands as database_commands
# {% if cookiecutter.database_driver == "asyncpg" %}
from app.infra.database.asyncpg import Asyncpg
# {% endif %}
# {% if cookiecutter.database_driver not in ["aiosqlite", "none"] %}
# {% if cookiecutter.cache_backend != "none" %}
from app.infra.database.freshness import FreshnessMiddleware, from_primary
# {% else %}
from app.infra.database.freshness import FreshnessMiddleware
# {% endif %}
# {% endif %}
# {% if cookiecutter.database_driver == "asyncmy" %}
from app.infra.database.mysql import Mysql
# {% elif cookiecutter.database_driver == "psycopg" %}
from app.infra.database.psycopg import Psycopg
# {% endif %}
# {% if cookiecutter.database_driver != "aiosqlite" %}
from app.infra.database.replicas import with_replicas
# {% endif %}
from app.infra.database.revisions import is_current
# {% if cookiecutter.monitoring != "none" %}
from app.infra.database.samples import DatabaseSamples
# {% endif %}
# {% if cookiecutter.database_driver == "aiosqlite" %}
from app.infra.database.sqlite import Sqlite
# {% endif %}
# {% endif %}
# {% if cookiecutter.cache_backend in ["memory", "tiered"] %}
from app.infra.http.body_limit import BodyLimit
from app.infra.http.hosts import TrustedHosts
# {% endif %}
# {% if cookiecutter.example != "none" %}
from app.infra.http.pages import Cursors
# {% endif %}
from app.infra.http.request import RequestMiddleware
# {% if cookiecutter.__rooms %}
from app.infra.lifecycle import opened
# {% endif %}
# {% if cookiecutter.monitoring == "prometheus" %}
from app.infra.monitoring import Recorder, listening, metrics_route
# {% elif cookiecutter.monitoring == "opentelemetry" %}
from app.infra.monitoring import Recorder, listening, opentelemetry
# {% elif cookiecutter.error_tracking == "sentry" %}
from app.infra.monitoring import Recorder, listening
# {% endif %}
# {% if cookiecutter.monitoring != "none" %}
# {% if cookiecutter.monitoring == "opentelemetry" %}
from app.infra.monitoring.opentelemetry import OpenTelemetry
# {% if cookiecutter.database_driver != "none" %}
from app.infra.monitoring.opentelemetry_database import statements_traced
# {% endif %}
# {% if cookiecutter.cache_backend not in ["memory", "none"] %}
from app.infra.monitoring.opentelemetry_redis import connect
# {% endif %}
# {% endif %}
# {% if cookiecutter.monitoring == "prometheus" %}
from app.infra.monitoring.prometheus import Prometheus, exposed
# {% endif %}
# {% if cookiecutter.__rooms %}
from app.infra.monitoring.sampling import Sample, sampled
# {% else %}
from app.infra.monitoring.sampling import sampled
# {% endif %}
# {% endif %}
# {% if cookiecutter.error_tracking == "sentry" %}
from app.infra.monitoring.sentry import Sentry
# {% endif %}
# {% if cookiecutter.cache_backend not in ["memory", "none"] and cookiecutter.monitoring != "opentelemetry" %}
from app.infra.redis import connect
# {% endif %}
# {% if cookiecutter.cache_backend == "memory" %}
from app.infra.sessions import SessionMiddleware, Sessions
from app.infra.sessions.memory import MemorySessions
# {% elif cookiecutter.cache_backend != "none" %}
from app.infra.sessions import SessionMiddleware, Sessions
from app.infra.sessions.redis import RedisSessions
# {% endif %}
# {% if cookiecutter.task_queue != "none" %}
# {% if cookiecutter.task_queue == "in-process" %}
from app.infra.tasks import Job, Tasks
# {% else %}
from app.infra.tasks import Job, Tasks, worker_command
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
from app.infra.tasks import commands as task_commands
# {% endif %}
from app.infra.tasks import routes as task_routes
# {% if cookiecutter.task_queue == "celery-rabbitmq" %}
from app.infra.tasks.celery_rabbitmq import CeleryRabbitmq
# {% elif cookiecutter.task_queue == "celery-redis" %}
from app.infra.tasks.celery_redis import CeleryRedis
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
from app.infra.tasks.database import DatabaseLedger
# {% endif %}
# {% if cookiecutter.task_queue == "in-process" %}
from app.infra.tasks.in_process import InProcess
# {% endif %}
# {% if cookiecutter.database_driver == "none" %}
from app.infra.tasks.memory import HoldBackMiddleware, MemoryLedger
# {% endif %}
# {% if cookiecutter.monitoring != "none" %}
from app.infra.tasks.samples import TaskSamples
# {% endif %}
# {% if cookiecutter.task_queue == "taskiq-rabbitmq" %}
from app.infra.tasks.taskiq_rabbitmq import TaskiqRabbitmq
# {% elif cookiecutter.task_queue == "taskiq-redis" %}
from app.infra.tasks.taskiq_redis import TaskiqRedis
# {% endif %}
# {% if cookiecutter.task_queue not in ["in-process", "none"] %}
from app.infra.tasks.transport import Transport
# {% endif %}
# {% if cookiecutter.task_queue == "in-process" %}
from app.infra.tasks.working import working
# {% endif %}
# {% endif %}
from app.settings import Settings
# {% if cookiecutter.database_driver != "none" %}

if TYPE_CHECKING:
    from app.infra.database.migrations import Migrations
# {% endif %}

# {% if cookiecutter.cache_backend != "none" or cookiecutter.monitoring == "opentelemetry" %}
_SLUG = "{{ cookiecutter.project_slug }}"

# {% endif %}
# {% if cookiecutter.monitoring == "opentelemetry" %}
TELEMETRY = opentelemetry.TELEMETRY
"""What FastAPI tells of requests by itself: spans."""
# {% else %}
# It would look for somebody to tell at every request.
TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
"""What FastAPI tells of requests by itself: nothing."""
# {% endif %}

# {% if cookiecutter.cache_backend in ["memory", "tiered"] and cookiecutter.monitoring != "opentelemetry" %}
HTTP_PROTOCOL = "app.infra.cache.ready_protocol:ReadyProtocol"
# {% else %}
HTTP_PROTOCOL = "app.infra.http.protocol:BoundedProtocol"
# {% endif %}
"""How the server speaks HTTP/1.1."""

API_PREFIX = "/v1"

State = dict[str, Any]
"""What handlers find as `request.state`; `checks` maps names to what readiness asks."""


def include_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of each slice, one level deep: each level is searched again."""
    # {% if cookiecutter.example != "none" %}
    # {% if cookiecutter.task_queue != "none" %}
    # Before the routes of one product, which would take their paths for ids.
    app.include_router(import_routes.router, prefix=API_PREFIX)
    app.include_router(rating_routes.router, prefix=API_PREFIX)
    # {% endif %}
    app.include_router(catalog_routes.router, prefix=API_PREFIX)
    # {% if cookiecutter.cache_backend != "none" %}
    app.include_router(recent_routes.router, prefix=API_PREFIX)
    # {% endif %}
    # {% endif %}
    # {% if cookiecutter.task_queue != "none" %}
    app.include_router(task_routes.router, prefix=API_PREFIX)
    # {% endif %}
    # {% if cookiecutter.monitoring == "prometheus" %}
    if settings.monitoring.token is not None:
        app.include_router(metrics_route.router(settings.monitoring.token))
    # {% endif %}


def add_middleware(app: FastAPI, settings: Settings) -> None:
    """Wrap `app` in what the parts need around every request; what is added last is outermost."""
    # {% if cookiecutter.cache_backend != "none" %}
    app.add_middleware(SessionMiddleware, production=settings.production)
    policies = response_policies()
    # {% if cookiecutter.cache_backend == "redis" %}
    app.add_middleware(ResponseCache, routes=app.routes, policies=policies, name=_SLUG)
    # {% else %}
    ready = ReadyResponses(policies)
    app.add_middleware(
        LearningResponseCache, routes=app.routes, policies=policies, name=_SLUG, ready=ready
    )
    # {% endif %}
    # {% endif %}
    # {% if cookiecutter.database_driver not in ["aiosqlite", "none"] %}
    if settings.database.replica_urls:
        app.add_middleware(FreshnessMiddleware, sticky_seconds=settings.database.sticky_seconds)
    # {% endif %}
    # {% if cookiecutter.task_queue != "none" and cookiecutter.database_driver == "none" %}
    app.add_middleware(HoldBackMiddleware)
    # {% endif %}


def outermost(service: FastAPI) -> Callable[..., ASGIApp]:
    """What makes the outermost layer of `service`, which sees every request."""
    # {% if cookiecutter.cache_backend in ["memory", "tiered"] %}
    silent = {
        BodyLimit,
        # {% if cookiecutter.database_driver not in ["aiosqlite", "none"] %}
        FreshnessMiddleware,
        # {% endif %}
        # {% if cookiecutter.task_queue != "none" and cookiecutter.database_driver == "none" %}
        HoldBackMiddleware,
        # {% endif %}
        TrustedHosts,
    }
    ready = ready_in_front(service, silent)
    if ready is not None:
        return partial(ReadyMiddleware, ready=ready, name=_SLUG)
    # {% endif %}
    return RequestMiddleware


def add_commands(group: click.Group, load_settings: Callable[[], Settings]) -> None:
    """Add the commands of each part to `group`."""
    # {% if cookiecutter.cache_backend not in ["memory", "none"] %}
    cache_commands.add_to(group, lambda: make_cache(load_settings()))
    # {% endif %}
    # {% if cookiecutter.database_driver != "none" %}
    database_commands.add_to(
        group,
        open_migrations=lambda: open_migrations(load_settings()),
        describe_migrations=lambda: make_migrations(make_database(load_settings())),
    )
    # {% if cookiecutter.example != "none" %}
    catalog_commands.add_to(group, lambda: _prepared_rooms(load_settings()))
    # {% endif %}
    # {% if cookiecutter.task_queue != "none" %}
    task_commands.add_to(group, lambda: open_ledger(load_settings()))
    # {% endif %}
    # {% if cookiecutter.task_queue not in ["in-process", "none"] %}
    worker_command.add_to(
        group,
        "app.worker:from_environment",
        load_settings,
        choose=lambda settings: (settings.http, settings.tasks),
        prepare=prepare,
        beside=lambda settings: beside(settings, worker=True),
    )
    # {% endif %}
    # {% endif %}


def single_process_room() -> str | None:
    """The part that would be wrong in a service of several processes, if there is one."""
    # {% if cookiecutter.database_driver == "none" and cookiecutter.example != "none" %}
    return "app/catalog/memory.py"
    # {% elif cookiecutter.database_driver == "none" and cookiecutter.task_queue != "none" %}
    return "app/infra/tasks/memory.py"
    # {% elif cookiecutter.cache_backend == "memory" %}
    return "app/infra/cache/memory.py"
    # {% else %}
    return None
    # {% endif %}


@contextmanager
def beside(settings: Settings, *, worker: bool = False) -> Iterator[None]:
    # {% if cookiecutter.monitoring == "prometheus" %}
    """What the process does that starts the service, or a worker, while that runs."""
    with exposed(settings.monitoring, worker=worker):
        yield
    # {% else %}
    """What the process does that starts the service, or a worker, while that runs: nothing."""
    yield
    # {% endif %}


@asynccontextmanager
async def open_rooms(settings: Settings) -> AsyncIterator[State]:
    # {% if cookiecutter.__opened %}
    """Open everything that serves requests; it is closed at the end, or when a part fails."""
    # {% elif cookiecutter.example != "none" %}
    """Make everything that serves requests."""
    # {% else %}
    """Open everything that serves requests; the first room reads its settings here."""
    # {% endif %}
    state: State = {}
    # {% if cookiecutter.database_driver != "none" %}
    database = make_database(settings)
    state["checks"] = {"database": database.check}
    # {% endif %}
    # {% if cookiecutter.cache_backend != "none" %}
    state["cache"] = cache = make_cache(settings)
    state["sessions"] = sessions = make_sessions(settings)
    # {% endif %}
    # {% if cookiecutter.task_queue != "none" %}
    # {% if cookiecutter.database_driver != "none" %}
    state["tasks"] = tasks = make_tasks(settings, database, jobs())
    # {% else %}
    state["tasks"] = tasks = make_tasks(settings, jobs())
    # {% endif %}
    # {% endif %}
    # {% if cookiecutter.example != "none" %}
    # {% if cookiecutter.database_driver != "none" %}
    store = DatabaseStore(database)
    # {% else %}
    store = MemoryStore()
    # {% endif %}
    # {% if cookiecutter.cache_backend != "none" %}
    state |= wire_catalog(store, settings, cache)
    # {% else %}
    state |= wire_catalog(store, settings)
    # {% endif %}
    # {% if cookiecutter.task_queue != "none" %}
    # {% if cookiecutter.database_driver != "none" %}
    lists, ratings = DatabasePriceLists(database), DatabaseRatings(database)
    # {% else %}
    lists, ratings = MemoryPriceLists(), MemoryRatings(store)
    # {% endif %}
    # {% if cookiecutter.cache_backend != "none" %}
    state |= wire_catalog_jobs(store, lists, ratings, cache)
    # {% else %}
    state |= wire_catalog_jobs(store, lists, ratings)
    # {% endif %}
    # {% endif %}
    # {% endif %}
    # {% if cookiecutter.__opened %}
    async with AsyncExitStack() as stack:
        # {% if cookiecutter.__listening %}
        await stack.enter_async_context(listening(*make_recorders(settings)))
        # {% endif %}
        # {% if cookiecutter.monitoring == "opentelemetry" and cookiecutter.database_driver != "none" %}
        stack.enter_context(statements_traced())
        # {% endif %}
        # {% if cookiecutter.__rooms %}
        await stack.enter_async_context(opened({{ cookiecutter.__rooms }}))
        # {% endif %}
        # {% if cookiecutter.monitoring != "none" %}
        # {% if cookiecutter.__rooms %}
        samples: list[Sample] = [
            # {% if cookiecutter.database_driver != "none" %}
            DatabaseSamples(database).take,
            # {% endif %}
            # {% if cookiecutter.cache_backend != "none" %}
            CacheSamples(cache).take,
            # {% endif %}
            # {% if cookiecutter.task_queue != "none" %}
            TaskSamples(tasks).take,
            # {% endif %}
        ]
        await stack.enter_async_context(sampled(samples, settings.monitoring.sample_seconds))
        # {% else %}
        await stack.enter_async_context(sampled([], settings.monitoring.sample_seconds))
        # {% endif %}
        # {% endif %}
        # {% if cookiecutter.cache_backend != "none" %}
        await stack.enter_async_context(warmed(hot_reads(state), settings.cache))
        # {% endif %}
        # {% if cookiecutter.task_queue == "in-process" %}
        await stack.enter_async_context(working(tasks, state))
        # {% endif %}
        yield state
    # {% else %}
    yield state
    # {% endif %}
# {% if cookiecutter.example != "none" %}


# {% if cookiecutter.cache_backend != "none" %}
def wire_catalog(store: Store, settings: Settings, cache: Cache) -> State:
    """The catalogue on a store, real or a double, and its cache."""
    cursors = Cursors(settings.secret_key.get_secret_value())
    return {"catalog": catalog_cached.CachedCatalog(store, cursors, cache)}
# {% else %}
def wire_catalog(store: Store, settings: Settings) -> State:
    """The catalogue on a store, real or a double."""
    cursors = Cursors(settings.secret_key.get_secret_value())
    return {"catalog": Catalog(store, cursors)}
# {% endif %}
# {% if cookiecutter.task_queue != "none" %}


# {% if cookiecutter.cache_backend != "none" %}
def wire_catalog_jobs(
    store: Store, lists: PriceListStore, ratings: RatingStore, cache: Cache
) -> State:
    """What the catalogue's jobs work with, on stores, real or doubles."""
    return {"price_lists": CachedPriceLists(lists, store, cache), "ratings": Ratings(ratings)}
# {% else %}
def wire_catalog_jobs(store: Store, lists: PriceListStore, ratings: RatingStore) -> State:
    """What the catalogue's jobs work with, on stores, real or doubles."""
    return {"price_lists": PriceLists(lists, store), "ratings": Ratings(ratings)}
# {% endif %}
# {% endif %}
# {% endif %}
# {% if cookiecutter.__listening %}


def make_recorders(settings: Settings) -> list[Recorder]:
    """Who listens to what the rooms and slices record."""
    return [
        # {% if cookiecutter.monitoring == "prometheus" %}
        Prometheus(settings.monitoring),
        # {% elif cookiecutter.monitoring == "opentelemetry" %}
        OpenTelemetry(
            settings.monitoring,
            service=_SLUG,
            version=read_about().version,
            environment=settings.environment,
        ),
        # {% endif %}
        # {% if cookiecutter.error_tracking == "sentry" %}
        Sentry(settings.sentry, release=read_about().version, environment=settings.environment),
        # {% endif %}
    ]
# {% endif %}
# {% if cookiecutter.cache_backend != "none" %}


def response_policies() -> Mapping[str, ResponsePolicy]:
    """How responses are cached, by the name of their route; others are not."""
    # {% if cookiecutter.example != "none" %}
    return catalog_cached.POLICIES
    # {% else %}
    return {}
    # {% endif %}


# {% if cookiecutter.example != "none" %}
def hot_reads(state: State) -> Sequence[HotRead]:
    """What is kept in the cache from the start on."""
    return catalog_cached.hot_reads(state["catalog"])
# {% else %}
def hot_reads(state: State) -> Sequence[HotRead]:
    """What is kept in the cache from the start on."""
    return []
# {% endif %}


def make_cache(settings: Settings) -> Cache:
    """The cache, not yet open."""
    # {% if cookiecutter.cache_backend == "memory" %}
    backend = Memory(settings.cache)
    # {% elif cookiecutter.cache_backend == "redis" %}
    backend = RedisCache(settings.cache, connect)
    # {% else %}
    backend = Tiered(settings.cache, connect)
    # {% endif %}
    # {% if cookiecutter.database_driver not in ["aiosqlite", "none"] %}
    return Cache(backend, settings.cache, loading=from_primary)
    # {% else %}
    return Cache(backend, settings.cache)
    # {% endif %}


def make_sessions(settings: Settings) -> Sessions:
    """The sessions, not yet open."""
    # {% if cookiecutter.cache_backend == "memory" %}
    return Sessions(MemorySessions(settings.sessions), settings.sessions)
    # {% else %}
    return Sessions(RedisSessions(settings.sessions, connect), settings.sessions)
    # {% endif %}
# {% endif %}
# {% if cookiecutter.task_queue != "none" %}


def jobs() -> Sequence[Job]:
    """What can be submitted, and what runs by itself."""
    # {% if cookiecutter.example != "none" %}
    return [*catalog_jobs.JOBS]
    # {% else %}
    return []
    # {% endif %}


# {% if cookiecutter.database_driver != "none" %}
def make_tasks(settings: Settings, database: Database, jobs: Sequence[Job]) -> Tasks:
    """Background work, not yet open."""
    # {% if cookiecutter.task_queue == "in-process" %}
    transport = InProcess(settings.tasks)
    # {% else %}
    transport = make_transport(settings, jobs)
    # {% endif %}
    return Tasks(DatabaseLedger(database), transport, jobs, settings.tasks)


# {% if cookiecutter.task_queue != "in-process" %}
def make_transport(settings: Settings, jobs: Sequence[Job]) -> Transport:
    """The queue, not yet open."""
    # {% if cookiecutter.task_queue == "taskiq-redis" %}
    return TaskiqRedis(settings.tasks)
    # {% elif cookiecutter.task_queue == "taskiq-rabbitmq" %}
    return TaskiqRabbitmq(settings.tasks)
    # {% elif cookiecutter.task_queue == "celery-redis" %}
    return CeleryRedis(settings.tasks, jobs, program="app.worker_pool")
    # {% else %}
    return CeleryRabbitmq(settings.tasks, jobs, program="app.worker_pool")
    # {% endif %}


# {% endif %}
@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[DatabaseLedger]:
    """The book of all tasks, with no queue."""
    database = make_database(settings)
    async with opened(database):
        yield DatabaseLedger(database)
# {% else %}
def make_tasks(settings: Settings, jobs: Sequence[Job]) -> Tasks:
    """Background work, not yet open."""
    ledger = MemoryLedger(limit=settings.tasks.queue_limit)
    return Tasks(ledger, InProcess(settings.tasks), jobs, settings.tasks)
# {% endif %}
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}


def make_database(settings: Settings) -> Database:
    """The database, not yet open.

    Raises:
        StartupError: a setting of it cannot be.
    """
    # {% if cookiecutter.database_driver == "aiosqlite" %}
    return Database(settings.database, Sqlite(settings.database))
    # {% else %}
    # {% if cookiecutter.database_driver == "asyncpg" %}
    dialect = Asyncpg(settings.database)
    # {% elif cookiecutter.database_driver == "psycopg" %}
    dialect = Psycopg(settings.database)
    # {% else %}
    dialect = Mysql(settings.database)
    # {% endif %}
    return with_replicas(settings.database, dialect, workers=settings.http.workers)
    # {% endif %}


def migrations() -> dict[str, Path]:
    """Where each slice keeps its revisions, by the slice's name."""
    # {% if cookiecutter.example != "none" or cookiecutter.task_queue != "none" %}
    return {
        # {% if cookiecutter.example != "none" %}
        "catalog": Path(__file__).parent / "catalog" / "migrations",
        # {% endif %}
        # {% if cookiecutter.task_queue != "none" %}
        "tasks": Path(__file__).parent / "infra" / "tasks" / "migrations",
        # {% endif %}
    }
    # {% else %}
    return {}
    # {% endif %}


@asynccontextmanager
async def open_migrations(settings: Settings) -> AsyncIterator["Migrations"]:
    """The database, with the revisions of every slice."""
    database = make_database(settings)
    async with opened(database):
        yield make_migrations(database)


def make_migrations(database: Database) -> "Migrations":
    """The revisions of every slice, for `database`."""
    # It announces each of its parts, from its import on; Migrations says what matters.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Here, since Alembic would add a sixth to the time that the rest takes to import.
    from app.infra.database.migrations import Migrations

    return Migrations(database, Base.metadata, migrations())


async def prepare(settings: Settings) -> None:
    """Before the server starts: bring the schema up to date, in production insist that it is.

    Raises:
        StartupError: a server does not answer, or in production a migration is pending.
    """
    database = make_database(settings)
    async with opened(database):
        if not await is_current(database, migrations().values()):
            revisions = make_migrations(database)
            if not settings.production:
                await revisions.upgrade()
            elif await revisions.pending():
                raise StartupError("The database is behind; run `python -m app migrate` first.")
    # {% if cookiecutter.task_queue not in ["in-process", "none"] %}
    queue = make_transport(settings, jobs())
    await queue.open()
    await queue.close()
    # {% endif %}
# {% if cookiecutter.example != "none" %}


@asynccontextmanager
async def _prepared_rooms(settings: Settings) -> AsyncIterator[State]:
    await prepare(settings)
    async with open_rooms(settings) as state:
        yield state
# {% endif %}
# {% else %}


async def prepare(settings: Settings) -> None:
    """What has to be done before the server starts: nothing, as long as nothing is kept."""
# {% endif %}
