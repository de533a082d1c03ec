"""The catalogue over each of its stores; a test that takes `client` runs once for each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from app import bootstrap
from app.catalog.memory import MemoryStore
# {% if cookiecutter.task_queue != "none" %}
from app.catalog.price_lists_memory import MemoryPriceLists
from app.catalog.ratings_memory import MemoryRatings
# {% endif %}
# {% if cookiecutter.cache_backend != "none" or cookiecutter.task_queue != "none" %}
from app.infra.lifecycle import opened
# {% endif %}
# {% if cookiecutter.task_queue != "none" %}
from app.infra.tasks import Tasks
from app.infra.tasks.in_process import InProcess, InProcessSettings
from app.infra.tasks.memory import MemoryLedger
from app.infra.tasks.working import working
# {% endif %}
from app.main import create_app
from app.settings import Settings
# {% if cookiecutter.database_driver != "none" %}
from tests.databases import Explain
# {% endif %}
# {% if cookiecutter.database_driver == "aiosqlite" %}
from tests.sqlite import explain as explain_statement
# {% elif cookiecutter.database_driver == "asyncmy" %}
from tests.mysql import explain as explain_statement
# {% elif cookiecutter.database_driver != "none" %}
from tests.postgresql import explain as explain_statement
# {% endif %}


@asynccontextmanager
async def _memory_rooms(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    store = MemoryStore()
    # {% if cookiecutter.task_queue != "none" %}
    bounds = InProcessSettings()
    ledger = MemoryLedger(limit=bounds.queue_limit)
    tasks = Tasks(ledger, InProcess(bounds), bootstrap.jobs(), bounds)
    lists, ratings = MemoryPriceLists(), MemoryRatings(store)
    # {% endif %}
    # {% if cookiecutter.cache_backend != "none" %}
    cache = bootstrap.make_cache(settings)
    state = {**bootstrap.wire_catalog(store, settings, cache), "cache": cache}
    # {% if cookiecutter.task_queue != "none" %}
    state |= {**bootstrap.wire_catalog_jobs(store, lists, ratings, cache), "tasks": tasks}
    async with opened(cache, tasks), working(tasks, state):
        yield state
    # {% else %}
    async with opened(cache):
        yield state
    # {% endif %}
    # {% else %}
    state = bootstrap.wire_catalog(store, settings)
    # {% if cookiecutter.task_queue != "none" %}
    state |= {**bootstrap.wire_catalog_jobs(store, lists, ratings), "tasks": tasks}
    async with opened(tasks), working(tasks, state):
        yield state
    # {% else %}
    yield state
    # {% endif %}
    # {% endif %}


# {% if cookiecutter.task_queue not in ["in-process", "none"] %}
@asynccontextmanager
async def _database_rooms(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """The service's own, but that it performs its tasks itself."""
    async with bootstrap.open_rooms(settings) as rooms:
        bounds = InProcessSettings()
        tasks = Tasks(rooms["tasks"].ledger, InProcess(bounds), bootstrap.jobs(), bounds)
        state = {**rooms, "tasks": tasks}
        async with opened(tasks), working(tasks, state):
            yield state


# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
@pytest.fixture(params=["memory", "database"])
# {% else %}
@pytest.fixture(params=["memory"])
# {% endif %}
def store(request: pytest.FixtureRequest) -> str:
    """Where the products are kept."""
    return str(request.param)


@pytest.fixture
def app(settings: Settings, store: str) -> FastAPI:
    """The service, with the catalogue over `store`."""
    # {% if cookiecutter.task_queue in ["in-process", "none"] %}
    open_rooms = _memory_rooms if store == "memory" else bootstrap.open_rooms
    # {% else %}
    open_rooms = _memory_rooms if store == "memory" else _database_rooms
    # {% endif %}
    return create_app(settings, open_rooms=open_rooms)
# {% if cookiecutter.database_driver != "none" %}


@pytest.fixture
def explain() -> Explain:
    """How the database means to execute a statement."""
    return explain_statement
# {% endif %}
