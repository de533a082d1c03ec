"""Who is read from: replicas in turn, without those that are dead, hang or are behind."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
import structlog
from httpx2 import AsyncClient
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app import bootstrap
from app.errors import StartupError
from app.infra.database.replicas import ReplicatedDatabase
from app.infra.database.server import ServerDialect
from app.infra.monitoring import listening
from app.settings import Settings
from tests.databases import make_rows, opened, with_database
from tests.figures import Figures
from tests.problems import problem
from tests.recorded import recorded
from tests.replicated import (
    PATIENCE_SECONDS,
    Served,
    count_rows,
    eventually,
    followed,
    replicated,
)
from tests.servers import PrivateServer


def nowhere(url: str) -> str:
    """The URL of a server that is not there."""
    return make_url(url).set(port=1).render_as_string(hide_password=False)


@asynccontextmanager
async def load(served: Served) -> AsyncIterator[list[int]]:
    """Twenty clients who read again and again; the status of each answer that they get."""
    statuses: list[int] = []
    stopped = False

    async def read() -> None:
        while not stopped:
            statuses.append((await served.ask()).status_code)
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(read())
        try:
            yield statuses
        finally:
            stopped = True


async def share(served: Served, statuses: list[int]) -> float:
    """The share of the primary in 200 reads of a load, after those that are on their way."""

    async def done(number: int) -> tuple[int, int]:
        reads = len(statuses) + number

        async def are_done() -> bool:
            return len(statuses) >= reads

        await eventually(are_done)
        return len(statuses), served.statements()[0]

    reads, statements = await done(40)
    more_reads, more_statements = await done(200)
    return (more_statements - statements) / (more_reads - reads)


async def settled(served: Served, statuses: list[int], expected: float) -> float:
    """Wait until the share of the primary is what is expected.

    On a busy machine a replica may be behind for a moment, and is left out until the next look.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (found := await share(served, statuses)) != pytest.approx(expected, abs=0.05):
            pass
    return found


class TestTurns:
    async def test_requests(self, private_server: PrivateServer) -> None:
        """Reads go to one replica after the other and none to the primary; writes go there."""
        async with followed(private_server, 2) as (served, _):
            before = served.statements()
            for _ in range(50):
                assert (await served.ask()).json() == 0
            primary, *replicas = map(int.__sub__, served.statements(), before)
            assert primary == 0
            assert all(25 <= reads < 40 for reads in replicas), replicas  # and some looks
            assert (await served.ask("POST")).status_code == 201
            assert served.statements()[0] > before[0]

    async def test_commands(self, new_database: str) -> None:
        """Without a request reads go to the primary: a command may have written before."""
        settings = with_database(Settings(), url=new_database)
        await make_rows(settings)
        figures = Figures()
        async with (
            listening(figures),
            opened(settings, replica_urls=[new_database]) as database,
        ):
            assert isinstance(database, ReplicatedDatabase)
            served = Served(AsyncClient(), database, figures)
            await served.joined()
            before = served.statements()[0]
            await count_rows(database)
            assert served.statements()[0] == before + 1


class TestLag:
    async def test_behind(self, private_server: PrivateServer) -> None:
        """Left out while it is further behind than it may be, and back when it has caught up."""
        async with followed(private_server, delay_seconds=2, replica_max_lag_seconds=0.5) as (
            served,
            _,
        ):
            with recorded() as log:
                await served.ask("POST")
                await served.left()
                assert (await served.ask()).json() == 1
                await served.joined()
            [line] = log.of("replica left out")
            assert line["cause"] == "it is behind"
            assert len(log.of("replica joined")) == 1

    async def test_not_known(self, new_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that no longer follows the primary, which is there, is left out."""

        async def lag_seconds(_engine: AsyncEngine) -> float:
            return math.inf

        async with replicated(new_database, new_database) as served:
            await served.joined()
            monkeypatch.setattr(served.database.dialect, "lag_seconds", lag_seconds)
            await served.left()
            assert (await served.ask()).status_code == 200


class TestKilled:
    @pytest.mark.parametrize(("number", "share_meanwhile"), [(1, 1), (2, 0)])
    async def test_under_load(
        self, private_server: PrivateServer, number: int, share_meanwhile: float
    ) -> None:
        """No read fails; the other replica has them or else the primary, until it is back."""
        shares: dict[str, float] = {}
        async with (
            followed(private_server, number, unit_timeout_seconds=30) as (served, replicas),
            load(served) as statuses,
        ):
            shares["before"] = await settled(served, statuses, 0)
            await asyncio.to_thread(replicas[0].kill)
            shares["meanwhile"] = await settled(served, statuses, share_meanwhile)
            await asyncio.to_thread(replicas[0].start)
            await served.joined()
            shares["after"] = await settled(served, statuses, 0)
        # `pytest -rP` shows it.
        structlog.get_logger().info("shares of the primary", reads=len(statuses), **shares)
        assert set(statuses) == {200}
        assert len(statuses) > 600

    async def test_all(self, private_server: PrivateServer) -> None:
        """Already the next read comes from the primary; the log has one line for each change."""
        async with followed(private_server, 2) as (served, replicas):
            with recorded() as log:
                for replica in replicas:
                    replica.kill()
                before = served.statements()[0]
                for _ in range(5):
                    assert (await served.ask()).status_code == 200
                assert served.statements()[0] == before + 5
                for replica in replicas:
                    replica.start()
                await served.joined()
            assert len(log.of("replica left out")) == len(log.of("replica joined")) == 2

    async def test_at_the_start(self, new_database: str) -> None:
        """It keeps no service from starting, and is told once however often it is looked at."""
        with recorded() as log:
            async with replicated(new_database, nowhere(new_database)) as served:
                await served.left()
                assert (await served.ask()).status_code == 200
                for _ in range(3):
                    await served.database.replicas[0]._look()
        [line] = log.of("replica left out")
        assert line["replica"] == "replica 1"


class TestPaused:
    async def test_under_load(self, private_server: PrivateServer) -> None:
        """Left out when a look has hung; reads that were on their way to it end in 503 at most."""
        async with followed(private_server) as (served, [replica]):
            async with load(served) as statuses:
                await share(served, statuses)
                replica.pause()
                await served.left()
            assert set(statuses) <= {200, 503}
            before = served.statements()[0]
            assert (await served.ask()).status_code == 200
            assert served.statements()[0] == before + 1
            replica.resume()
            await served.joined()

    async def test_closing(self, private_server: PrivateServer) -> None:
        """The service ends soon, and nothing of it is left, while a look at a replica hangs."""
        tasks = asyncio.all_tasks()
        with closing(private_server.replica()) as replica:
            async with (
                asyncio.timeout(PATIENCE_SECONDS / 2),
                replicated(private_server.url, replica.url, connect_timeout_seconds=60) as served,
            ):
                await served.caught_up()
                await served.joined()
                assert (await served.ask()).status_code == 200  # and its connection is kept
                replica.pause()
                health: Any = served.database.replicas[0]._health.pool

                async def is_looked_at() -> bool:
                    return bool(health.checkedout())

                await eventually(is_looked_at)
            assert asyncio.all_tasks() == tasks


class TestBusy:
    async def test_no_connection_is_free(self, new_database: str) -> None:
        """503, and not the primary's concern: it has the writes."""
        few = {"pool_size": 1, "pool_overflow": 0, "acquire_timeout_seconds": 0.1}
        async with replicated(new_database, new_database, **few) as served:
            await served.joined()
            [replica] = served.database.replicas
            before = served.statements()[0]
            async with replica.reading():
                assert "busy" in problem(await served.ask(), 503)["detail"]
            assert (await served.ask()).status_code == 200
            assert served.statements()[0] == before
            assert replica.healthy


class TestPrimaryKilled:
    async def test_reads_go_on(self, private_server: PrivateServer) -> None:
        """What only reads is answered, by a replica that comes back meanwhile too; nothing else."""
        async with followed(private_server) as (served, [server]):
            assert (await served.ask("POST")).status_code == 201
            await served.caught_up()
            private_server.kill()
            [replica] = served.database.replicas
            dialect = served.database.dialect
            assert isinstance(dialect, ServerDialect)

            async def is_alone() -> bool:
                return await dialect.lag_seconds(replica.engine) == math.inf

            await eventually(is_alone)
            await replica._look()
            for _ in range(5):
                assert (await served.ask()).json() == 1
            for path in ("/rows", "/rows/count"):
                problem(await served.ask("POST", path), 503)

            server.stop()
            await served.left()
            problem(await served.ask(), 503)
            server.start()
            await served.joined()
            assert (await served.ask()).json() == 1

            private_server.start()
            assert (await served.ask("POST")).status_code == 201
            await served.caught_up()


class TestSettings:
    def test_url(self) -> None:
        """The sentence names the setting, and how to write it."""
        settings = with_database(Settings(), replica_urls=["https://example.com"])
        with pytest.raises(StartupError, match=r"APP_DATABASE__REPLICA_URLS .* write them"):
            bootstrap.make_database(settings)
