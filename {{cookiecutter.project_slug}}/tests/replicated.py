"""A service that reads from replicas, and what tests wait for there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from httpx2 import AsyncClient, Response
from sqlalchemy import func, insert, select
from sqlalchemy.exc import DBAPIError

from app.errors import Unavailable
from app.infra.database import Database
from app.infra.database.replicas import ReplicatedDatabase
from app.infra.monitoring import listening
from app.settings import Settings
from tests.databases import make_rows, probing, rows, with_database
from tests.figures import Figures
from tests.servers import PrivateServer
from tests.serving import running

# Nothing that is waited for may take longer.
PATIENCE_SECONDS = 20
SHORT = {"replica_check_seconds": 0.2, "connect_timeout_seconds": 2, "unit_timeout_seconds": 2}


@dataclass(frozen=True)
class Served:
    """A service, and the database that it uses."""

    client: AsyncClient
    database: ReplicatedDatabase
    figures: Figures

    async def ask(self, method: str = "GET", path: str = "/rows") -> Response:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.client.request(method, path)

    def statements(self) -> list[int]:
        """How many the primary has had so far, and each replica, the looks at it included."""
        name = "database_statement_duration_seconds"
        return [self.figures.times(name, each.name) for each in self.database.members()]

    async def joined(self) -> None:
        """Wait until every replica is read from."""

        async def all_are() -> bool:
            return all(replica.healthy for replica in self.database.replicas)

        await eventually(all_are)

    async def left(self) -> None:
        """Wait until no replica is read from."""

        async def none_is() -> bool:
            return not any(replica.healthy for replica in self.database.replicas)

        await eventually(none_is)

    async def caught_up(self) -> None:
        """Wait until every replica has what the primary has."""

        async def all_have() -> bool:
            there = {await count_rows(replica) for replica in self.database.replicas}
            return there == {await count_rows(self.database)}

        await eventually(all_have)


@asynccontextmanager
async def replicated(url: str, *replica_urls: str, **changes: Any) -> AsyncIterator[Served]:
    """The service of `probing`, with short time-outs, and replicas that may be there or not.

    POST /rows/count adds a row and counts them in the same request.
    """
    settings = with_database(Settings(), url=url)
    await make_rows(settings)
    app = probing(settings, replica_urls=replica_urls, **(SHORT | changes))
    found: list[ReplicatedDatabase] = []

    @app.get("/database")
    async def find(request: Request) -> None:
        found.append(request.state.database)

    @app.post("/rows/count")
    async def add_and_count(request: Request) -> int | None:
        database: Database = request.state.database
        async with database.writing() as session:
            await session.execute(insert(rows).values(value=0))
        return await count_rows(database)

    figures = Figures()
    async with running(app) as client, listening(figures):
        await client.get("/database")
        yield Served(client, found[0], figures)


@asynccontextmanager
async def followed(
    primary: PrivateServer, number: int = 1, *, delay_seconds: float = 0, **changes: Any
) -> AsyncIterator[tuple[Served, list[PrivateServer]]]:
    """A service that reads from so many replicas of `primary`."""
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(closing(primary.replica(delay_seconds))) for _ in range(number)
        ]
        urls = [replica.url for replica in replicas]
        async with replicated(primary.url, *urls, **changes) as served:
            await served.caught_up()
            await served.joined()
            yield served, replicas


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)


async def count_rows(database: Database) -> int | None:
    """How many rows there are; None while the table itself has not arrived."""
    try:
        async with database.reading() as connection:
            return await connection.scalar(select(func.count()).select_from(rows))
    except (DBAPIError, Unavailable):
        return None
