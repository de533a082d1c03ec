"""The engine, and the two ways to use it."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
from sqlalchemy import Engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as AcquireTimeout
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from app.errors import BadRequest, StartupError, Unavailable
from app.infra import timing
from app.infra.database import sqlite
from app.infra.database.settings import DatabaseSettings

logger = structlog.get_logger()


class Database:
    """One pool of connections, opened once per process."""

    name = "database"

    def __init__(self, settings: DatabaseSettings) -> None:
        """Prepare the engine; nothing connects before `open`.

        Raises:
            StartupError: the URL is not one.
        """
        self._engine = _create_engine(settings)
        self._readers = self._engine.execution_options(**{sqlite.READING: True})
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._turns = sqlite.Turns(settings.acquire_timeout_seconds)

    async def open(self) -> None:
        """Connect once.

        Raises:
            StartupError: the database does not answer.
        """
        try:
            await asyncio.to_thread(sqlite.probe, self._engine.url)
            await self.check()
        except (DBAPIError, sqlite3.Error) as error:
            await self._engine.dispose()
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise StartupError(
                f"The database at {self._engine.url.render_as_string()} cannot be opened"
                f" ({cause}); start it or correct APP_DATABASE__URL."
            ) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    async def check(self) -> None:
        """Raise unless the database answers, from where it is."""
        await asyncio.to_thread(sqlite.require_file, self._engine.url)
        async with self._readers.connect() as connection:
            await connection.execute(sqlite.ANY_TABLE)

    @property
    def engine(self) -> AsyncEngine:
        """For migrations and tests; requests use `reading` and `writing`."""
        return self._engine

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for statements that only read, outside of any transaction.

        Raises:
            Unavailable: the database is gone or busy, or no connection became free in time.
        """
        with _translated():
            async with self._readers.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A unit of work: committed when the block ends, rolled back on any error.

        Raises:
            Unavailable: the database is gone or busy, or no connection became free in time.
        """
        with _translated():
            async with self._turns.next(), self._sessions.begin() as session:
                yield session


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what a restart or a quieter moment would cure into 503, and what none would into 400."""
    try:
        yield
    except (AcquireTimeout, sqlite.TurnTimeout) as error:
        logger.warning("every database connection is busy", cause=type(error).__name__)
        raise Unavailable("Every database connection is busy; try again shortly.") from error
    except DBAPIError as error:
        if not sqlite.is_passing(error):
            raise
        # Without the statement, whose parameters are nobody's business.
        logger.warning("database does not answer", cause=str(error.orig))
        raise Unavailable("The database does not answer; try again shortly.") from error
    except OverflowError as error:
        raise BadRequest("A number of the request is too large to be stored.") from error


def _create_engine(settings: DatabaseSettings) -> AsyncEngine:
    try:
        engine = create_async_engine(
            settings.url,
            pool_size=settings.pool_size,
            max_overflow=settings.pool_overflow,
            pool_timeout=settings.acquire_timeout_seconds,
            pool_recycle=settings.pool_recycle_seconds,
        )
    except (ArgumentError, InvalidRequestError, ImportError, TypeError, ValueError):
        raise StartupError(
            "APP_DATABASE__URL is no URL that this service can use;"
            " write it like sqlite+aiosqlite:///data.db."
        ) from None
    sqlite.set_up(engine.sync_engine, busy_timeout_seconds=settings.busy_timeout_seconds)
    _time_statements(engine.sync_engine)
    return engine


def _time_statements(engine: Engine) -> None:
    """Count the time of statements towards the request that runs them."""

    @event.listens_for(engine, "before_cursor_execute")
    def start(_connection: Any, _cursor: Any, *rest: Any) -> None:
        context = rest[2]
        context.started = time.perf_counter()

    @event.listens_for(engine, "after_cursor_execute")
    def stop(_connection: Any, _cursor: Any, *rest: Any) -> None:
        context = rest[2]
        timing.add("database", time.perf_counter() - context.started)
