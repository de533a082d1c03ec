"""The composition root: which parts the service is made of, and how they meet.

The only module that knows the concrete parts. A slice has a folder of its own and its lines here;
without them it is gone.
"""

# {% if cookiecutter.database_driver != "none" %}
import logging
# {% endif %}
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
# {% if cookiecutter.database_driver != "none" %}
from pathlib import Path
from typing import TYPE_CHECKING, Any
# {% else %}
from typing import Any
# {% endif %}

import click
from fastapi import APIRouter, FastAPI

# {% if cookiecutter.example != "none" %}
# {% if cookiecutter.database_driver != "none" %}
from app.catalog import commands as catalog_commands
# {% endif %}
from app.catalog import routes as catalog_routes
# {% if cookiecutter.database_driver != "none" %}
from app.catalog.repository import DatabaseStore
# {% else %}
from app.catalog.memory import MemoryStore
# {% endif %}
from app.catalog.service import Catalog, Store
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
from app.errors import StartupError
from app.infra.database import Base, Database
from app.infra.database import commands as database_commands
# {% if cookiecutter.database_driver == "asyncpg" %}
from app.infra.database.asyncpg import Asyncpg
# {% endif %}
# {% if cookiecutter.database_driver not in ["aiosqlite", "none"] %}
from app.infra.database.freshness import FreshnessMiddleware
# {% endif %}
# {% if cookiecutter.database_driver == "asyncmy" %}
from app.infra.database.mysql import Mysql
# {% elif cookiecutter.database_driver == "psycopg" %}
from app.infra.database.psycopg import Psycopg
# {% endif %}
# {% if cookiecutter.database_driver == "aiosqlite" %}
from app.infra.database.sqlite import Sqlite
# {% else %}
from app.infra.database.replicas import with_replicas
# {% endif %}
# {% endif %}
# {% if cookiecutter.example != "none" %}
from app.infra.http.pages import Cursors
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
from app.infra.lifecycle import opened
# {% endif %}
from app.settings import Settings
# {% if cookiecutter.database_driver != "none" %}

if TYPE_CHECKING:
    from app.infra.database.migrations import Migrations
# {% endif %}

State = dict[str, Any]
"""What handlers find as `request.state`; `checks` maps names to what readiness asks."""


def include_slices(api: APIRouter) -> None:
    """Add the routes of each slice to `api`."""
    # {% if cookiecutter.example != "none" %}
    api.include_router(catalog_routes.router)
    # {% endif %}


def add_middleware(app: FastAPI, settings: Settings) -> None:
    """Wrap `app` in what the parts need around every request."""
    # {% if cookiecutter.database_driver not in ["aiosqlite", "none"] %}
    if settings.database.replica_urls:
        app.add_middleware(FreshnessMiddleware, sticky_seconds=settings.database.sticky_seconds)
    # {% endif %}


def add_commands(group: click.Group, load_settings: Callable[[], Settings]) -> None:
    """Add the commands of each part to `group`."""
    # {% if cookiecutter.database_driver != "none" %}
    database_commands.add_to(
        group,
        open_migrations=lambda: open_migrations(load_settings()),
        describe_migrations=lambda: make_migrations(make_database(load_settings())),
    )
    # {% if cookiecutter.example != "none" %}
    catalog_commands.add_to(group, lambda: _prepared_rooms(load_settings()))
    # {% endif %}
    # {% endif %}


def single_process_room() -> str | None:
    """The part that would be wrong in a service of several processes, if there is one."""
    # {% if cookiecutter.database_driver == "none" and cookiecutter.example != "none" %}
    return "app/catalog/memory.py"
    # {% else %}
    return None
    # {% endif %}


@asynccontextmanager
# {% if cookiecutter.database_driver != "none" %}
async def open_rooms(settings: Settings) -> AsyncIterator[State]:
    """Open everything that serves requests; it is closed at the end, or when a part fails."""
    database = make_database(settings)
    async with opened(database):
        # {% if cookiecutter.example != "none" %}
        state = wire_catalog(DatabaseStore(database), settings)
        yield {**state, "checks": {"database": database.check}}
        # {% else %}
        yield {"checks": {"database": database.check}}
        # {% endif %}
# {% elif cookiecutter.example != "none" %}
async def open_rooms(settings: Settings) -> AsyncIterator[State]:
    """Make everything that serves requests."""
    yield wire_catalog(MemoryStore(), settings)
# {% else %}
async def open_rooms(settings: Settings) -> AsyncIterator[State]:
    """Open everything that serves requests; the first room reads its settings here."""
    yield {}
# {% endif %}
# {% if cookiecutter.example != "none" %}


def wire_catalog(store: Store, settings: Settings) -> State:
    """The catalogue on a store, real or a double."""
    cursors = Cursors(settings.secret_key.get_secret_value())
    return {"catalog": Catalog(store, cursors)}
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
    # {% if cookiecutter.example != "none" %}
    return {"catalog": Path(__file__).parent / "catalog" / "migrations"}
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
    # Here, since Alembic would add a third to the time that a worker takes to import the rest.
    from app.infra.database.migrations import Migrations

    return Migrations(database, Base.metadata, migrations())


async def prepare(settings: Settings) -> None:
    """Before the server starts: bring the schema up to date, in production insist that it is.

    Raises:
        StartupError: the database does not answer, or in production a migration is pending.
    """
    async with open_migrations(settings) as revisions:
        if not settings.production:
            await revisions.upgrade()
        elif await revisions.pending():
            raise StartupError("The database is behind; run `python -m app migrate` first.")
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
