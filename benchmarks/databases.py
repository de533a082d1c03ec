"""Databases of the run's own, in servers that are there already."""

import asyncio
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

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
    asyncio.run(ask(server, f"CREATE DATABASE {name}"))
    try:
        url = make_url(server).set(database=name)
        if driver == "psycopg":
            url = url.set(drivername="postgresql+psycopg")
        yield url.render_as_string(hide_password=False)
    finally:
        force = " WITH (FORCE)" if driver != "asyncmy" else ""
        asyncio.run(ask(server, f"DROP DATABASE {name}{force}"))


async def ask(url: str, statement: str) -> None:
    """Execute one statement, outside of any transaction."""
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.execute(text(statement))
    finally:
        await engine.dispose()
