"""Databases of the run's own, in servers that are there already."""

import asyncio
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

SERVERS = {
    "asyncpg": ("TEST_POSTGRESQL_URL", "postgresql+asyncpg://postgres@127.0.0.1:5432/postgres"),
    "asyncmy": ("TEST_MYSQL_URL", "mysql+asyncmy://root@127.0.0.1:3306/mysql"),
}


@contextmanager
def database(driver: str) -> Iterator[str]:
    """The URL of a new, empty database, which is dropped at the end."""
    variable, usual = SERVERS["asyncpg" if driver == "psycopg" else driver]
    server = os.environ.get(variable, usual)
    name = f"benchmark_{uuid.uuid4().hex[:12]}"
    rows(server, f"CREATE DATABASE {name}")
    try:
        url = make_url(server).set(database=name)
        if driver == "psycopg":
            url = url.set(drivername="postgresql+psycopg")
        yield url.render_as_string(hide_password=False)
    finally:
        force = " WITH (FORCE)" if driver != "asyncmy" else ""
        rows(server, f"DROP DATABASE {name}{force}")


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """What one statement returns, executed outside of any transaction."""
    return asyncio.run(_rows(url, statement))


async def _rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            found = await connection.execute(text(statement))
            return [tuple(row) for row in found] if found.returns_rows else []
    finally:
        await engine.dispose()
