"""The engine, and the two ways to use it."""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, event
from sqlalchemy.exc import ArgumentError, IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from app.errors import ServiceError, StartupError
from app.infra import timing
from app.infra.database import unit
from app.infra.database.batcher import Batcher
from app.infra.database.dialect import Dialect
from app.infra.database.driver import Driver
from app.infra.database.pool import pool_class
from app.infra.database.prepared import Found, Prepared
from app.infra.database.settings import DatabaseSettings
from app.infra.database.statements import StatementWatch
from app.infra.database.unit import Unit, cause_of

logger = structlog.get_logger()

_OPEN_TIMEOUT_SECONDS = 10.0
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Database:
    """One pool of connections, opened once per process."""

    def __init__(
        self,
        settings: DatabaseSettings,
        dialect: Dialect,
        *,
        workers: int = 1,
        name: str = "database",
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare the engine; nothing connects before `open`.

        The connections that `settings` allow are shared by `workers` processes. `on_gone` is called
        whenever the database turns out not to answer.

        Raises:
            StartupError: the URL is not one, or the pools of all workers are too large together.
        """
        self.name = name
        self.dialect = dialect
        self._settings = settings
        self._statements = StatementWatch(name, settings.slow_statement_seconds)
        try:
            size, overflow = settings.pool_bounds(workers)
        except ValueError as error:
            raise StartupError(str(error)) from None
        self.pool_limit = size + overflow
        self._engine = self._create_engine(size, overflow, pre_ping=settings.pool_pre_ping)
        # However busy the pool is, health asks the database and not the pool.
        self._health = self._create_engine(1, 0, pre_ping=True)
        self._driver = Driver(self._engine, dialect, self._statements)
        self._readers = self._engine.execution_options(**dialect.reading_options)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._on_gone = on_gone
        unit.expect(name)
        self._batchers: list[Batcher[Any, Any]] = []

    async def open(self) -> None:
        """Connect once.

        Raises:
            StartupError: the database does not answer.
        """
        try:
            # A server that hangs accepts the connection, and then says nothing.
            async with asyncio.timeout(_OPEN_TIMEOUT_SECONDS):
                await self.dialect.probe(self._engine.url)
                await self.check()
        except Exception as error:
            await self.close()
            raise StartupError(
                f"The database at {_without_password(self._engine.url)} cannot be opened"
                f" ({cause_of(error)}); start it, create what is missing, or correct"
                " APP_DATABASE__URL."
            ) from error

    async def close(self) -> None:
        """Close every connection."""
        for batcher in self._batchers:
            await batcher.close()
        await self._engine.dispose()
        await self._health.dispose()

    async def check(self) -> None:
        """Raise unless the database answers, from where it is."""
        await self.dialect.check(self._health)

    @property
    def engine(self) -> AsyncEngine:
        """For migrations and tests; requests use `reading` and `writing`."""
        return self._engine

    def members(self) -> Sequence["Database"]:
        """Whatever has a pool of its own: this one alone."""
        return [self]

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for statements that only read, outside of any transaction.

        Raises:
            TryAgain: the connection was dead, or a migration changed what the statement asks for.
            Unavailable: the database is gone or busy, or no connection became free in time.
            TimedOut: the database gave a statement up.
        """
        async with self._unit(), self._readers.connect() as connection:
            yield connection

    async def fetch(self, prepared: Prepared, values: Mapping[str, Any]) -> Found:
        """The rows of a statement that only reads, at the least cost.

        Where the driver can be asked by itself, it is, unless somebody listens to what SQLAlchemy
        does. Raises what `reading` does.
        """
        async with self._unit() as unit:
            if question := self._driver.question(prepared, values):
                try:
                    return await self._driver.ask(question)
                except Exception as error:  # noqa: BLE001
                    unit.explain(error)
                    # SQLAlchemy knows what it means.
                    logger.debug("statement is repeated", cause=cause_of(error))
            async with self._readers.connect() as connection:
                rows: Found = (await connection.execute(prepared.statement, values)).all()
                return rows

    async def change(
        self, prepared: Prepared, values: Mapping[str, Any], conflict: Callable[[], ServiceError]
    ) -> Found:
        """What a statement returns that is a unit of work by itself, at the least cost.

        Raises what `writing` does, and `conflict()` where a constraint is in the way.
        """
        async with self._unit() as unit, self.dialect.turn():
            if question := self._driver.question(prepared, values):
                try:
                    return await self._driver.ask(question, changes=True)
                except Exception as error:
                    unit.explain(error)
                    if not self.dialect.has_failed(error):
                        # Sent, it may have been kept.
                        raise unit.gone(error) from error
            async with self._session(unit) as session:
                try:
                    found: Found = (await session.execute(prepared.statement, values)).all()
                except IntegrityError as error:
                    raise conflict() from error
                return found

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A unit of work: committed when the block ends, rolled back on any error.

        Raises:
            TryAgain: another unit of work was in the way, or the connection was dead.
            Unavailable: the database is gone or busy, or no connection became free in time.
            TimedOut: the database gave a statement up.
        """
        async with self._unit() as unit, self.dialect.turn(), self._session(unit) as session:
            yield session

    @asynccontextmanager
    async def _session(self, unit: Unit) -> AsyncIterator[AsyncSession]:
        async with self._sessions() as session:
            with _around(_Around(self, session)):
                yield session
            # Statements count by themselves, and must not do so twice.
            await session.flush()
            unit.commits = True
            with timing.measured("database"):
                await session.commit()

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[AsyncSession]:
        """The session of the unit of work around the caller, to be part of it; else a unit."""
        around = _current.get()
        if around is not None and around.database is self and not around.over:
            yield around.session
            return
        async with self.writing() as session:
            yield session

    def merged(
        self,
        one: Callable[[Key], Awaitable[Value | None]],
        many: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]],
    ) -> Callable[[Key], Awaitable[Value | None]]:
        """A function that loads by key: concurrent calls share one of `many`, if settings say so.

        Otherwise it is `one`; `many` returns what it finds.
        """
        if not self._settings.batch_window_seconds:
            return one
        batcher = Batcher(
            many,
            window_seconds=self._settings.batch_window_seconds,
            maximum=self._settings.batch_maximum,
        )
        self._batchers.append(batcher)

        async def load(key: Key) -> Value | None:
            return await (one(key) if self._reads_alone() else batcher.get(key))

        return load

    def _reads_alone(self) -> bool:
        """Whether what is read now must not be read by somebody else."""
        return False

    def _unit(self) -> Unit:
        return Unit(self.name, self.dialect, self._settings.unit_timeout_seconds, self._on_gone)

    def _create_engine(self, size: int, overflow: int, *, pre_ping: bool) -> AsyncEngine:
        settings = self._settings
        try:
            engine = create_async_engine(
                settings.url,
                poolclass=pool_class(settings.url),
                pool_size=size,
                max_overflow=overflow,
                pool_timeout=settings.acquire_timeout_seconds,
                pool_recycle=settings.pool_recycle_seconds,
                pool_pre_ping=pre_ping,
                # The values of statements are nobody's business, in errors too.
                hide_parameters=True,
                **self.dialect.engine_options(),
            )
        except (ArgumentError, InvalidRequestError, ImportError, TypeError, ValueError):
            raise StartupError(
                "APP_DATABASE__URL is no URL that this service can use;"
                f" write it like {self.dialect.example_url}."
            ) from None
        except OSError as error:
            raise StartupError(f"APP_DATABASE__TLS_CA_FILE cannot be read: {error}.") from None
        self._listen(engine)
        return engine

    def _listen(self, engine: AsyncEngine) -> None:
        self.dialect.set_up(engine.sync_engine)
        self._statements.listen(engine.sync_engine)

        @event.listens_for(engine.sync_engine, "do_connect")
        def connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
            dbapi = dialect.loaded_dbapi
            try:
                return dialect.connect(*arguments, **options)
            except dbapi.Error as error:
                error.while_connecting = True
                raise
            except OSError as error:
                # Not every driver makes an error of its own of it.
                failure = dbapi.OperationalError(cause_of(error))
                failure.while_connecting = True
                raise failure from error

        @event.listens_for(engine.sync_engine, "handle_error")
        def forget_stale_plans(context: Any) -> None:
            # All connections have them, and a new connection has none.
            if self.dialect.is_stale_plan(context.original_exception):
                context.is_disconnect = True


@dataclass(slots=True)
class _Around:
    database: Database
    session: AsyncSession
    over: bool = False
    """Tasks that were started in a unit of work may outlive it."""


_current: ContextVar[_Around | None] = ContextVar("unit_of_work", default=None)


@contextmanager
def _around(unit: _Around) -> Iterator[None]:
    token = _current.set(unit)
    try:
        yield
    finally:
        unit.over = True
        _current.reset(token)


def _without_password(url: URL) -> str:
    # Some drivers take it among the parameters too.
    return url.difference_update_query(["password", "passwd"]).render_as_string()
