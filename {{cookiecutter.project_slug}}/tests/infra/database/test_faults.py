"""What a client sees of a database server that is gone, hangs, is busy, or gives up."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import Engine, Update, event, literal_column, select, text, update

from app.errors import StartupError, TimedOut
from app.infra.database import Database, Prepared
from app.infra.monitoring import listening
from app.infra.units import unit_of_work
from app.settings import Settings
from tests.databases import make_rows, opened, probing, rows, with_database
from tests.figures import Figures
from tests.problems import problem
from tests.recorded import recorded
from tests.servers import PrivateServer
from tests.serving import running

# Nothing here may take longer, whatever its own time-outs are.
PATIENCE_SECONDS = 20


@pytest.fixture(params=["", "/prepared"])
async def service(
    private_server: PrivateServer, request: pytest.FixtureRequest
) -> AsyncIterator[AsyncClient]:
    """A service over a server that may be harmed: three connections, and short time-outs.

    Statements go either way.
    """
    settings = with_database(Settings(), url=private_server.url)
    await make_rows(settings)
    app = probing(
        settings,
        pool_size=3,
        pool_overflow=0,
        acquire_timeout_seconds=1,
        connect_timeout_seconds=1,
        unit_timeout_seconds=2,
    )
    async with running(app) as client:
        client.base_url = f"{client.base_url}{request.param}"
        # All of its connections are open.
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(client.get("/rows"))
        yield client


async def ask(client: AsyncClient, method: str = "GET") -> Response:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await client.request(method, "/rows")


def unavailable(response: Response) -> None:
    assert "does not answer" in problem(response, 503)["detail"]
    assert response.headers["retry-after"] == "1"


class TestGone:
    async def test_killed(self, service: AsyncClient, private_server: PrivateServer) -> None:
        """503, however often; the first request after it is back succeeds."""
        private_server.kill()
        for method in ("GET", "POST") * 5:
            unavailable(await ask(service, method))
        private_server.start()
        assert (await ask(service, "POST")).status_code == 201
        assert (await ask(service)).json() == 1

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_restarted_unnoticed(
        self, service: AsyncClient, private_server: PrivateServer, method: str
    ) -> None:
        """The connections are dead, and no request sees one."""
        private_server.stop()
        private_server.start()
        assert (await ask(service, method)).is_success

    async def test_killed_under_load(
        self, service: AsyncClient, private_server: PrivateServer
    ) -> None:
        """Every request is answered, and no connection is lost on the way."""
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(service, "POST")) for _ in range(30)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            private_server.kill()
        assert {task.result().status_code for task in asked} <= {201, 503}
        private_server.start()
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(service)) for _ in range(10)]
        assert {task.result().status_code for task in asked} == {200}

    async def test_health(self, service: AsyncClient, private_server: PrivateServer) -> None:
        """Readiness says so and recovers; liveness does not ask."""
        private_server.kill()
        with recorded() as log:
            ready = await service.get("http://service/health/ready")
        assert len(log.of("health check failed")) == 1
        assert ready.status_code == 503
        assert ready.json()["checks"] == {"database": "failed"}
        assert (await service.get("http://service/health/live")).status_code == 200
        private_server.start()
        assert (await service.get("http://service/health/ready")).status_code == 200

    async def test_at_the_start(self, private_server: PrivateServer) -> None:
        """One sentence that names the remedy."""
        private_server.kill()
        remedy = "start it, create what is missing, or correct APP_DATABASE__URL"
        with pytest.raises(StartupError, match=remedy) as refusal:
            async with opened(with_database(Settings(), url=private_server.url)):
                pass
        assert "\n" not in str(refusal.value)


class TestHanging:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_paused(
        self, service: AsyncClient, private_server: PrivateServer, method: str
    ) -> None:
        """503 when the unit of work has had its time; once it goes on, so does the service."""
        private_server.pause()
        unavailable(await ask(service, method))
        private_server.resume()
        assert (await ask(service, method)).is_success

    async def test_keeps_nobody_else(
        self, service: AsyncClient, private_server: PrivateServer
    ) -> None:
        """What needs no database answers at once while every connection hangs."""
        private_server.pause()
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(service)) for _ in range(5)]
            await asyncio.sleep(0)
            root = await service.get("http://service/")
            assert root.status_code == 200
            assert not any(task.done() for task in asked)
        assert {task.result().status_code for task in asked} == {503}
        private_server.resume()
        assert (await ask(service)).status_code == 200


@pytest.fixture
async def database(new_database: str) -> AsyncIterator[Database]:
    """One connection, and two rows."""
    settings = with_database(Settings(), url=new_database)
    await make_rows(settings)
    async with opened(
        settings, pool_size=1, pool_overflow=1, statement_timeout_seconds=0.2
    ) as database:
        async with database.writing() as session:
            await session.execute(rows.insert(), [{"value": 0}, {"value": 0}])
        yield database


class TestLate:
    async def test_a_statement_that_takes_too_long(self, database: Database, sleep: str) -> None:
        """The server cancels it: 504, and its connection goes on."""
        with pytest.raises(TimedOut, match="took too long"):
            async with database.reading() as connection:
                await connection.execute(text(sleep))
        async with database.reading() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1

    async def test_a_prepared_one(self, database: Database, sleep: str) -> None:
        """The same, and it is not asked a second time."""
        prepared = Prepared(select(literal_column(sleep.removeprefix("SELECT "))))
        figures = Figures()
        async with listening(figures):
            with pytest.raises(TimedOut, match="took too long"):
                await database.fetch(prepared, {})
        assert figures.times("database_statement_duration_seconds", "database") == 1
        assert figures.total("database_errors_total", "database", "late") == 1

    async def test_a_request_that_goes_away(self, database: Database, sleep: str) -> None:
        """Its connection is free although its statement was not done."""

        async def hold() -> None:
            async with database.reading() as connection:
                started.set()
                await connection.execute(text(sleep))

        for _ in range(3):
            started = asyncio.Event()
            task = asyncio.create_task(hold())
            await started.wait()
            task.cancel()
            await asyncio.wait([task])
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            database.reading() as one,
            database.reading() as two,
        ):
            assert await one.scalar(text("SELECT 1")) == await two.scalar(text("SELECT 1"))


class TestCollision:
    async def test_deadlock(self, new_database: str, database: Database) -> None:
        """The one that the server sacrifices is repeated; both succeed, and each once."""
        both_hold = asyncio.Barrier(2)
        attempts = 0

        @unit_of_work
        async def count_up(first: int, second: int) -> None:
            nonlocal attempts
            attempts += 1
            async with patient.writing() as session:
                await session.execute(increase(first))
                if attempts <= 2:
                    await both_hold.wait()
                await session.execute(increase(second))

        async with (
            opened(with_database(Settings(), url=new_database)) as patient,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(count_up(1, 2))
            group.create_task(count_up(2, 1))
        assert attempts == 3
        async with database.reading() as connection:
            assert list(await connection.scalars(select(rows.c.value))) == [2, 2]


def increase(row_id: int) -> Update:
    return update(rows).where(rows.c.id == row_id).values(value=rows.c.value + 1)


class TestLimits:
    async def test_the_pool_is_a_bulkhead(self, new_database: str) -> None:
        """However many ask at once, the server sees no more connections than were allowed."""
        settings = with_database(Settings(), url=new_database)
        await make_rows(settings)
        async with running(probing(settings, pool_size=2, pool_overflow=2)) as client:
            with connections_made() as made:
                async with asyncio.TaskGroup() as group:
                    asked = [group.create_task(client.get("/rows")) for _ in range(100)]
        assert {task.result().status_code for task in asked} == {200}
        assert len(made) <= 4


@contextmanager
def connections_made() -> Iterator[list[object]]:
    """The connections that are made inside."""
    made: list[object] = []

    def note(connection: object, _record: object) -> None:
        made.append(connection)

    event.listen(Engine, "connect", note)
    try:
        yield made
    finally:
        event.remove(Engine, "connect", note)
