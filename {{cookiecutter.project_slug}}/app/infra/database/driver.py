"""The driver's own connection, for statements that need nothing else of SQLAlchemy."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ManagesConnection
from sqlalchemy.util import greenlet_spawn

from app.infra.database.dialect import Dialect
from app.infra.database.pool import WatchedPool
from app.infra.database.prepared import Fetch, Found, Prepared, Text
from app.infra.database.statements import StatementWatch

_TURNS_TO_HEAR = 5
"""Of the event loop: for its words, for its end, for what follows from that; two are to spare."""


class Question(NamedTuple):
    """What a driver is asked."""

    fetch: Fetch
    text: Text
    values: list[Any]


class Driver:
    """Asks the connections of an engine without it."""

    def __init__(self, engine: AsyncEngine, dialect: Dialect, statements: StatementWatch) -> None:
        self._engine = engine
        self._dialect = dialect
        self._statements = statements

    def question(self, prepared: Prepared, values: Mapping[str, Any]) -> Question | None:
        """What to `ask`; None where that is not possible, or somebody would miss it."""
        fetch = self._dialect.fetch
        if fetch is None or not self._statements.is_alone(self._engine.sync_engine):
            return None
        text = prepared.text(self._engine.dialect)
        if text is None:
            return None
        try:
            return Question(fetch, text, text.values(values))
        except Exception:  # noqa: BLE001  # SQLAlchemy tells what is wrong with the values
            return None

    async def ask(self, question: Question, *, changes: bool = False) -> Found:
        """The rows; raises what the driver raises."""
        pool = self._engine.sync_engine.pool
        if isinstance(pool, WatchedPool) and (lent := await pool.lend()) is not None:
            try:
                return await self._ask(lent, question, changes=changes)
            finally:
                await pool.take_back(lent)
        fairy = await self._engine.raw_connection()
        try:
            return await self._ask(fairy, question, changes=changes)
        finally:
            if fairy.is_valid:
                await greenlet_spawn(fairy.close)

    async def _ask(self, lent: ManagesConnection, question: Question, *, changes: bool) -> Found:
        connection = lent.driver_connection
        try:
            if changes:
                # The driver hears that the server has closed the connection, with its last words:
                # what is sent to nobody may not be repeated, since it could have been to somebody.
                await _turns_of_the_loop(_TURNS_TO_HEAR)
            started = time.perf_counter()
            try:
                found = await question.fetch(connection, question.text.sql, question.values)
            finally:
                self._statements.count(question.text.sql, time.perf_counter() - started)
        except BaseException as error:
            # Nobody knows what a driver that was interrupted was in the middle of.
            if not (isinstance(error, Exception) and self._dialect.is_good(connection, error)):
                await greenlet_spawn(lent.invalidate)
            raise
        return question.text.rows(found)


async def _turns_of_the_loop(number: int) -> None:
    """Wait for so many of them, at less than what it costs to wake up in each."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def count(left: int) -> None:
        if left > 0:
            loop.call_soon(count, left - 1)
        elif not over.done():
            over.set_result(None)

    # Who waits for it wakes up in the turn after the last.
    loop.call_soon(count, number - 2)
    await over
