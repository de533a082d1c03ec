"""Who waits for a connection."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event, literal, select
from sqlalchemy.pool.base import _ConnectionRecord
from sqlalchemy.util import await_only, greenlet_spawn

from app.errors import Unavailable
from app.infra.database import Database, Prepared
from app.infra.database.pool import WatchedPool, _Queue
from app.settings import Settings
from tests.databases import opened, with_database


@pytest.fixture
async def database(new_database: str) -> AsyncIterator[Database]:
    """Of one connection."""
    settings = with_database(Settings(), url=new_database)
    async with opened(
        settings, pool_size=1, pool_overflow=0, acquire_timeout_seconds=0.3
    ) as database:
        yield database


async def waiting(database: Database, served: list[str], name: str) -> None:
    async with database.reading():
        served.append(name)


class TestTurns:
    async def test_who_comes_first_is_served_first(self, database: Database) -> None:
        """Also when somebody comes at the moment when the connection is given back."""
        served: list[str] = []
        async with asyncio.TaskGroup() as group:
            async with database.reading():
                for name in ("first", "second", "third"):
                    group.create_task(waiting(database, served, name))
                    await asyncio.sleep(0.01)
            await waiting(database, served, "last")
        assert served == ["first", "second", "third", "last"]

    async def test_who_has_left_is_passed_over(self, database: Database) -> None:
        """Whenever: the connection is nobody's then."""
        served: list[str] = []
        for moment in range(6):
            async with database.reading():
                gone = asyncio.create_task(waiting(database, served, "gone"))
                await asyncio.sleep(0.01)
                stays = asyncio.create_task(waiting(database, served, "stays"))
                await asyncio.sleep(0.01)
            for _ in range(moment):
                await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait({gone})
            await stays
        assert served.count("stays") == 6

    async def test_too_long(self, database: Database) -> None:
        """503; and the next one is served."""
        served: list[str] = []
        async with database.reading():
            with pytest.raises(Unavailable, match="busy"):
                await waiting(database, served, "late")
        await waiting(database, served, "next")
        assert served == ["next"]

    async def test_what_was_handed_over_too_late_is_kept(self) -> None:
        """Who left had it, and meanwhile another was given back."""
        queue: Any = _Queue(1)
        gone = asyncio.create_task(queue.wait(None))
        await asyncio.sleep(0)
        queue.put_nowait("first")
        gone.cancel()
        queue.put_nowait("second")
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert queue.qsize() == 2


@pytest.fixture
def closed() -> list[object]:
    """The connections that were closed."""
    return []


class TestClosing:
    """What is given back later is closed: who is cancelled gives it back in the background."""

    async def test_checked_out(self, new_database: str, closed: list[object]) -> None:
        async with opened(with_database(Settings(), url=new_database)) as database:
            event.listen(database.engine.sync_engine, "close", lambda *it: closed.append(it))
            connection = await database.engine.connect()
        assert not closed
        await connection.close()
        assert len(closed) == 1

    async def test_lent(self, new_database: str, closed: list[object]) -> None:
        async with opened(with_database(Settings(), url=new_database)) as database:
            event.listen(database.engine.sync_engine, "close", lambda *it: closed.append(it))
            await (await database.engine.connect()).close()
            pool = pool_of(database)
            lent = await pool.lend()
        assert lent is not None
        assert not closed
        await pool.take_back(lent)
        assert len(closed) == 1


ONE = Prepared(select(literal(1)))


def pool_of(database: Database) -> WatchedPool:
    pool = database.engine.sync_engine.pool
    assert isinstance(pool, WatchedPool)
    return pool


async def _lent(database: Database) -> _ConnectionRecord:
    """The first connection of its pool, which is open."""
    await database.fetch(ONE, {})
    lent = await pool_of(database).lend()
    assert isinstance(lent, _ConnectionRecord)
    return lent


def _fail_to_open(pool: WatchedPool, monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Let nothing be opened so many times, which takes a while each time."""
    failures = [OSError("no server")] * times
    connect = pool._invoke_creator

    def fail_first(record: _ConnectionRecord) -> object:
        if failures:
            await_only(asyncio.sleep(0.05))
            raise failures.pop()
        return connect(record)

    monkeypatch.setattr(pool, "_invoke_creator", fail_first)


class TestLent:
    async def test_is_one_of_the_pool(self, database: Database) -> None:
        """Who asks the driver itself has its turn like everybody, and takes nobody's connection."""
        pool = pool_of(database)

        async def fetch() -> None:
            assert [list(row) for row in await database.fetch(ONE, {})] == [[1]]

        async with asyncio.TaskGroup() as group:
            for turn in range(20):
                group.create_task(fetch() if turn % 2 else waiting(database, [], "reader"))
        assert (pool.checkedin(), pool.checkedout()) == (1, 0)

    async def test_turns_are_those_of_everybody(self, database: Database) -> None:
        """Who is lent a connection waits for it like who checks one out, and is passed over too."""
        pool, served = pool_of(database), list[str]()

        async def borrow(name: str) -> None:
            lent = await pool.lend()
            assert lent is not None
            served.append(name)
            await pool.take_back(lent)

        for moment in range(6):
            async with database.reading():
                gone = asyncio.create_task(borrow("gone"))
                await asyncio.sleep(0.01)
                rest = [asyncio.create_task(borrow("first"))]
                await asyncio.sleep(0.01)
                rest.append(asyncio.create_task(waiting(database, served, "second")))
                await asyncio.sleep(0.01)
            for _ in range(moment):
                await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait({gone})
            await asyncio.gather(*rest)
        assert [name for name in served if name != "gone"] == ["first", "second"] * 6
        assert (pool.checkedin(), pool.checkedout()) == (1, 0)

    async def test_waits_once_and_not_for_ever(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """503 after the time that a request waits for a connection."""
        queue = pool_of(database)._pool
        wait, waits = queue.wait, list[float | None]()

        async def counted(timeout: float | None) -> Any:  # noqa: ASYNC109  # the pool's own
            waits.append(timeout)
            return await wait(timeout)

        monkeypatch.setattr(queue, "wait", counted)
        async with database.reading():
            with pytest.raises(Unavailable, match="busy"):
                await database.fetch(ONE, {})
        assert waits == [0.3]
        assert await database.fetch(ONE, {})

    async def test_one_too_many_is_closed(self, new_database: str) -> None:
        """One that was opened meanwhile has its place."""
        settings = with_database(Settings(), url=new_database)
        async with opened(settings, pool_size=1, pool_overflow=1) as database:
            pool = pool_of(database)
            lent = await _lent(database)
            async with database.reading():
                assert pool.checkedout() == 2
            await pool.take_back(lent)
            assert (pool.checkedin(), pool.checkedout(), pool.overflow()) == (1, 0, 0)
            assert await database.fetch(ONE, {})

    async def test_is_opened_anew_when_it_is_too_old(self, new_database: str) -> None:
        """By whoever has it then, who has waited for it."""
        settings = with_database(Settings(), url=new_database)
        async with opened(settings, pool_recycle_seconds=1, pool_size=1) as database:
            pool = pool_of(database)
            lent = await _lent(database)
            old = lent.driver_connection
            turn = asyncio.create_task(pool.lend())
            await asyncio.sleep(0)
            lent.starttime -= 2
            await pool.take_back(lent)
            assert await turn is lent
            assert lent.driver_connection is not old
            await pool.take_back(lent)
            assert (pool.checkedin(), pool.checkedout()) == (1, 0)

    async def test_what_cannot_be_opened_is_for_the_next(
        self, new_database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who waits does not wait for a connection that nobody has."""
        settings = with_database(Settings(), url=new_database)
        async with opened(settings, pool_size=1, acquire_timeout_seconds=30) as database:
            pool = pool_of(database)
            lent = await _lent(database)
            turns = [asyncio.create_task(database.fetch(ONE, {})) for _ in range(3)]
            await asyncio.sleep(0)
            await greenlet_spawn(lent.invalidate)
            _fail_to_open(pool, monkeypatch, times=1)
            async with asyncio.timeout(10):
                await pool.take_back(lent)
                found = await asyncio.gather(*turns, return_exceptions=True)
            assert len([each for each in found if isinstance(each, BaseException)]) <= 1
            assert (pool.checkedin(), pool.checkedout()) == (1, 0)

    async def test_one_that_cannot_be_opened_at_all_leaves_its_place(
        self, new_database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first of a process: the others wait while it is tried."""
        settings = with_database(Settings(), url=new_database)
        async with opened(settings, pool_size=1, acquire_timeout_seconds=30) as database:
            pool = pool_of(database)
            # Who fails may try once more.
            _fail_to_open(pool, monkeypatch, times=2)
            turns = [database.fetch(ONE, {}) for _ in range(3)]
            async with asyncio.timeout(10):
                found = await asyncio.gather(*turns, return_exceptions=True)
            assert any(not isinstance(each, BaseException) for each in found)
            assert (pool.checkedin(), pool.checkedout()) == (1, 0)

    async def test_is_left_to_sqlalchemy_where_somebody_looks_on(self, database: Database) -> None:
        pool = pool_of(database)
        await database.fetch(ONE, {})
        event.listen(pool, "checkout", lambda *_: None)
        assert await pool.lend() is None
        assert await database.fetch(ONE, {})
