"""A proxy that lends its few connections for one transaction at a time: a real PgBouncer."""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
from sqlalchemy import ColumnElement, func, insert, literal, make_url, select, text, update

from app.infra.database import Database
from app.settings import Settings
from tests.databases import make_rows, opened, rows, with_database
from tests.postgresql import PrivateServer
from tests.servers import PATIENCE_SECONDS, run_beside
from tests.services import skip_or_fail

CLIENTS = 50
ROUNDS = 20
CONNECTIONS = 2

CONFIGURATION = """
[databases]
postgres = host=127.0.0.1 port={server_port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
log_connections = 0
log_disconnections = 0
"""

# Besides what the proxy itself sets to what its client has, and what ends with a transaction.
LEFT_BEHIND = """
SELECT statement FROM pg_prepared_statements
UNION ALL
SELECT name FROM pg_settings WHERE source = 'session'
AND name NOT IN ('application_name', 'client_encoding', 'transaction_isolation')
"""

ALTER = "ALTER TABLE row_of_test ALTER COLUMN value TYPE text"


@pytest.fixture
def proxy(pytestconfig: pytest.Config, private_server: PrivateServer) -> Iterator[str]:
    """The URL of a database behind the proxy."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        skip_or_fail(pytestconfig, "pgbouncer is not on PATH")
        raise AssertionError
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    url = make_url(private_server.url)
    configuration = private_server.folder / "pgbouncer.ini"
    configuration.write_text(
        CONFIGURATION.format(port=port, server_port=url.port, connections=CONNECTIONS)
    )
    process = run_beside(private_server.folder, program, configuration.name)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
        yield url.set(port=port).render_as_string(hide_password=False)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def database(private_server: PrivateServer, proxy: str) -> AsyncIterator[Database]:
    """A pool that has a connection for each client, whatever the proxy has."""
    await make_rows(with_database(Settings(), url=private_server.url))
    settings = with_database(Settings(), url=proxy, transaction_pooling=True)
    pool = {"pool_size": CLIENTS, "pool_overflow": 0, "pool_pre_ping": True}
    async with opened(settings, **pool, acquire_timeout_seconds=PATIENCE_SECONDS) as database:
        yield database


async def read(database: Database, number: int) -> None:
    """A statement whose text is one of five, with as many parameters."""
    values = range(number % 5 + 1)
    async with database.reading() as connection:
        total: ColumnElement[int] = sum((literal(value) for value in values), start=literal(0))
        assert await connection.scalar(select(total)) == sum(values)


async def write(database: Database, number: int) -> None:
    async with database.writing() as session:
        row_id = await session.scalar(insert(rows).values(value=-1).returning(rows.c.id))
        await session.execute(update(rows).where(rows.c.id == row_id).values(value=number))


async def give_up(database: Database, number: int) -> None:
    with suppress(ZeroDivisionError):
        async with database.writing() as session:
            await session.execute(insert(rows).values(value=number))
            raise ZeroDivisionError


class TestTransactionPooling:
    async def test_few_connections_do_for_many_units_of_work(self, database: Database) -> None:
        """Reads, writes and what is rolled back: none meets what another one left behind."""
        kinds = (read, write, give_up)
        for _ in range(ROUNDS):
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(kinds[number % 3](database, number))
        count = select(rows.c.value, func.count()).group_by(rows.c.value).order_by(rows.c.value)
        async with database.reading() as connection:
            found = list(map(tuple, await connection.execute(count)))
        assert found == [(number, ROUNDS) for number in range(1, CLIENTS, 3)]

        # Each of these holds one of the proxy's connections.
        async with database.writing() as one, database.writing() as other:
            for session in (one, other):
                assert list(await session.scalars(text(LEFT_BEHIND))) == []

    async def test_what_a_migration_changed_is_read_as_it_is(self, database: Database) -> None:
        """Nobody remembers what a statement gave before."""
        await write(database, 7)
        for alter, expected in (("SELECT 1", 7), (ALTER, "7")):
            async with database.engine.begin() as connection:
                await connection.exec_driver_sql(alter)
            # Two by two, so that each takes part.
            async with database.reading() as one, database.reading() as other:
                for connection in (one, other) * 6:
                    assert await connection.scalar(select(rows.c.value)) == expected
