"""Who wrote reads what they wrote: from the primary, for as long as replicas may be behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from http.cookies import Morsel, SimpleCookie

import pytest
from httpx2 import Response
from starlette.types import Message, Receive, Scope, Send

from app.errors import StartupError
from app.infra.database import freshness
from app.infra.database.freshness import COOKIE, FreshnessMiddleware
from app.settings import load_settings
from tests.replicated import Served, followed, replicated
from tests.servers import PrivateServer

STICKY = {"sticky_seconds": 8.5}


@pytest.fixture
async def served(new_database: str) -> AsyncIterator[Served]:
    """A service whose clients are sticky, and whose one replica is the primary itself."""
    async with replicated(new_database, new_database, **STICKY) as served:
        await served.joined()
        yield served


def cookie(response: Response) -> "Morsel[str] | None":
    """The one that says what the client may read, if the response sets it."""
    return SimpleCookie(response.headers.get("set-cookie")).get(COOKIE)


class TestLag:
    async def test_who_wrote_reads_it(self, private_server: PrivateServer) -> None:
        """In the same request and in the next ones; all others once the replica has it."""
        patient = {"replica_max_lag_seconds": 60, "sticky_seconds": 63}
        async with followed(private_server, delay_seconds=2, **patient) as (served, _):
            assert (await served.ask("POST", "/rows/count")).json() == 1
            assert (await served.ask()).json() == 1
            served.client.cookies.clear()  # as somebody else
            assert (await served.ask()).json() == 0
            await served.caught_up()
            assert (await served.ask()).json() == 1
            assert served.database.replicas[0].healthy

    async def test_without_stickiness(self, private_server: PrivateServer) -> None:
        """In the same request only; a cookie that a client kept from earlier changes nothing."""
        async with followed(private_server, delay_seconds=2, replica_max_lag_seconds=60) as (
            served,
            _,
        ):
            served.client.cookies.set(COOKIE, "1")
            written = await served.ask("POST", "/rows/count")
            assert written.json() == 1
            assert cookie(written) is None
            assert (await served.ask()).json() == 0


class TestCookie:
    @pytest.mark.parametrize(("scheme", "secure"), [("http", ""), ("https", True)])
    async def test_attributes(self, served: Served, scheme: str, secure: str | bool) -> None:
        """For this service alone, not for scripts or other sites, encrypted if the request was."""
        found = cookie(await served.ask("POST", f"{scheme}://service/rows"))
        assert found is not None
        assert {name: value for name, value in found.items() if value} == {
            "max-age": "9",  # 8.5, and no less
            "path": "/",
            "httponly": True,
            "samesite": "Lax",
        } | ({"secure": secure} if secure else {})

    async def test_without_a_write(self, served: Served) -> None:
        """Neither a read gets one, nor what never came to the database."""
        assert cookie(await served.ask()) is None
        assert cookie(await served.ask("DELETE")) is None

    async def test_is_not_renewed(self, served: Served) -> None:
        """Reads with it go to the primary, and do not make it last any longer."""
        await served.ask("POST")
        before = served.statements()[0]
        assert cookie(await served.ask()) is None
        assert served.statements()[0] == before + 1

    async def test_among_others(self, served: Served) -> None:
        """It is found wherever the client sends it."""
        before = served.statements()[0]
        for value in (f"a=b; {COOKIE}=1", f"{COOKIE}=1; c"):
            await served.client.get("/rows", headers={"cookie": value})
        assert served.statements()[0] == before + 2
        await served.client.get("/rows", headers={"cookie": f"a={COOKIE}; not_{COOKIE}=1"})
        assert served.statements()[0] == before + 2


class TestSettings:
    def test_too_short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Shorter than replicas may be behind it would promise what it does not keep."""
        monkeypatch.setenv("APP_DATABASE__REPLICA_MAX_LAG_SECONDS", "3")
        monkeypatch.setenv("APP_DATABASE__REPLICA_CHECK_SECONDS", "0.5")
        monkeypatch.setenv("APP_DATABASE__CONNECT_TIMEOUT_SECONDS", "2")
        monkeypatch.setenv("APP_DATABASE__STICKY_SECONDS", "5.4")
        with pytest.raises(StartupError, match=r"sticky_seconds must be at least 5\.5, "):
            load_settings()
        monkeypatch.setenv("APP_DATABASE__STICKY_SECONDS", "5.5")
        assert load_settings().database.model_dump()["sticky_seconds"] == 5.5


async def within_request(work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` as a request would."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await work()

    async def nothing(*_message: Message) -> Message:
        return {}

    middleware = FreshnessMiddleware(app, sticky_seconds=0)
    await middleware({"type": "http"}, nothing, nothing)  # type: ignore[arg-type]


class TestRequest:
    async def test_leaves_something_behind(self) -> None:
        """A job that a request began is none of it, and reads from the primary."""
        seen: list[bool] = []
        over = asyncio.Event()

        async def job() -> None:
            seen.append(freshness.is_pinned())
            await over.wait()
            seen.append(freshness.is_pinned())

        async def work() -> None:
            jobs.append(asyncio.create_task(job()))
            await asyncio.sleep(0)

        jobs: list[asyncio.Task[None]] = []
        await within_request(work)
        over.set()
        await asyncio.gather(*jobs)
        assert seen == [False, True]

    async def test_shares_no_reads_after_a_write(self, new_database: str) -> None:
        """Nobody else's read, perhaps from a replica, is taken for its own."""

        async def one(key: int) -> str:
            return f"{key} alone"

        async def many(keys: Sequence[int]) -> dict[int, str]:
            return {key: f"{key} together" for key in keys}

        found: list[str | None] = []
        async with replicated(new_database, new_database, batch_window_seconds=0.001) as served:
            load = served.database.merged(one, many)

            async def work() -> None:
                found.append(await load(1))
                async with served.database.writing():
                    found.append(await load(2))

            await within_request(work)
        assert found == ["1 together", "2 alone"]
