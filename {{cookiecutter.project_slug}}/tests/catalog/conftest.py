"""The catalogue over each of its stores; a test that takes `client` runs once for each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from app import bootstrap
from app.catalog.memory import MemoryStore
# {% if cookiecutter.cache_backend != "none" %}
from app.infra.lifecycle import opened
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
    # {% if cookiecutter.cache_backend != "none" %}
    async with opened(cache := bootstrap.make_cache(settings)):
        yield {**bootstrap.wire_catalog(MemoryStore(), settings, cache), "cache": cache}
    # {% else %}
    yield bootstrap.wire_catalog(MemoryStore(), settings)
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
    open_rooms = _memory_rooms if store == "memory" else bootstrap.open_rooms
    return create_app(settings, open_rooms=open_rooms)
# {% if cookiecutter.database_driver != "none" %}


@pytest.fixture
def explain() -> Explain:
    """How the database means to execute a statement."""
    return explain_statement
# {% endif %}
