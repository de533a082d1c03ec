"""Statements as parts of a trace."""

from collections.abc import AsyncIterator, Iterator

import pytest
from fastapi import APIRouter, FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app import bootstrap
from app.infra.database import Database
from app.infra.lifecycle import opened
from app.main import create_app
from app.settings import Settings
from tests.infra.monitoring.sending import sending_to
from tests.otlp_receiver import Receiver, Span, receiving
from tests.serving import running

STATEMENT = "SELECT 1 WHERE 'told' = :secret"


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = bootstrap.make_database(settings)
    async with opened(database):
        yield database


@pytest.fixture
def app(collector: Receiver, settings: Settings, database: Database) -> FastAPI:
    probe = APIRouter(prefix="/probe")

    @probe.get("/good")
    async def read() -> None:
        async with database.reading() as connection:
            await connection.execute(text(STATEMENT), {"secret": "password"})

    @probe.get("/bad")
    async def fail() -> None:
        async with database.reading() as connection:
            with pytest.raises(DBAPIError):
                await connection.execute(text("SELECT nothing FROM nowhere"))

    app = create_app(sending_to(collector, settings))
    app.include_router(probe)
    return app


class TestStatement:
    async def test_is_a_part(self, app: FastAPI, collector: Receiver) -> None:
        """Of the request that runs it, within its time, and without the values."""
        async with running(app) as client:
            assert (await client.get("/probe/good")).status_code == 200
        [request] = collector.named("GET /probe/good")
        [statement] = children(collector, request.span_id)
        assert statement.name == "SELECT"
        assert statement.attributes["db.query.text"].startswith("SELECT 1 WHERE 'told' = ")
        assert "password" not in str(statement)
        assert request.began_ns <= statement.began_ns <= statement.ended_ns <= request.ended_ns
        assert not statement.failed

    async def test_fails(self, app: FastAPI, collector: Receiver) -> None:
        """With the kind of error, which says nothing of what was asked for."""
        async with running(app) as client:
            assert (await client.get("/probe/bad")).status_code == 200
        [request] = collector.named("GET /probe/bad")
        [statement] = children(collector, request.span_id)
        assert statement.failed
        assert statement.attributes["error.type"]

    async def test_of_nothing(self, app: FastAPI, collector: Receiver, database: Database) -> None:
        """What the service asks for by itself is no trace."""
        async with running(app) as client:
            async with database.reading() as connection:
                await connection.execute(text(STATEMENT), {"secret": "password"})
            assert (await client.get("/health/ready")).status_code == 200
        statements = [span for span in collector.spans if "db.system.name" in span.attributes]
        assert all(span.parent_id for span in statements)
        assert "told" not in str(statements)


def children(collector: Receiver, span_id: str) -> list[Span]:
    return [
        span
        for span in collector.spans
        if span.parent_id == span_id and "db.system.name" in span.attributes
    ]
