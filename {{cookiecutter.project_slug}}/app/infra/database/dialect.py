"""What differs between databases, so that nothing outside this room has to know which one it is."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine, Insert, Table, insert, literal_column
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.infra.database.prepared import Fetch

Rows = Sequence[Mapping[str, Any]]


class Failure(enum.Enum):
    """What an error of the database means to whoever asked."""

    GONE = "the database does not answer"
    COLLISION = "another unit of work was in the way"
    LATE = "the statement took longer than it may"
    UNFIT = "a value does not fit its column"


class Dialect(ABC):
    """One database through one driver."""

    example_url: ClassVar[str]
    """Shown to whoever gave one that cannot be used."""

    transactional_ddl: ClassVar[bool] = True
    """Whether a failing revision takes back the tables that it made."""

    alters_by_copying: ClassVar[bool] = False
    """Whether new revisions change a table by making it anew."""

    reading_options: Mapping[str, Any] = {"isolation_level": "AUTOCOMMIT"}
    """Execution options of connections that only read: they begin no transaction."""

    has_returning: ClassVar[bool] = True
    """Whether a statement that inserts tells what it has inserted."""

    fetch: Fetch | None = None
    """Asks the driver's own connection, in no transaction; None where that gains little."""

    def has_failed(self, error: Exception) -> bool:  # noqa: ARG002
        """Whether the driver says for sure, by `error`, that a statement has changed nothing."""
        return False

    def is_good(self, connection: Any, error: Exception) -> bool:  # noqa: ARG002
        """Whether the driver's `connection` can be used again after `error`."""
        return False

    def own_failure(self, error: Exception) -> Failure | None:  # noqa: ARG002
        """What an error of the driver's own means; None when SQLAlchemy knows better."""
        return None

    @abstractmethod
    def engine_options(self) -> dict[str, Any]:
        """What `create_async_engine` is given besides the URL and the pool."""

    @abstractmethod
    def set_up(self, engine: Engine) -> None:
        """Listen to the events of a new engine."""

    @abstractmethod
    def failure(self, error: DBAPIError) -> Failure | None:
        """What `error` means; None when it would be the same the next time."""

    def is_stale_plan(self, error: BaseException) -> bool:  # noqa: ARG002
        """Whether a statement failed only because a migration changed its tables meanwhile."""
        return False

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Held by each unit of work that writes, from before it has a connection."""
        return nullcontext()

    async def probe(self, url: URL) -> None:  # noqa: B027  # most have nothing to look at
        """Raise when it can be told without the driver that `url` cannot be opened."""

    async def check(self, engine: AsyncEngine) -> None:
        """Raise unless the database answers."""
        async with engine.connect() as connection:
            await connection.exec_driver_sql("SELECT 1")

    @abstractmethod
    def lock_migrations(self, connection: Connection) -> Callable[[], None]:
        """Wait until no other process migrates; what is returned lets the next one go on."""

    def ddl_dialect(self, engine: AsyncEngine) -> str:
        """What SQLAlchemy calls the dialect in which tables of `engine` are made."""
        return engine.dialect.name

    async def insert_all(
        self, session: AsyncSession, table: Table, rows: Rows, key: str
    ) -> list[int]:
        """Insert `rows` and return their ids in that order; `key` tells rows apart."""
        statement = insert(table).returning(table.c[key], table.c.id)
        return in_order(await session.execute(statement, rows), rows, key)

    async def upsert_all(
        self, session: AsyncSession, table: Table, rows: Rows, key: str, changes: Sequence[str]
    ) -> list[int]:
        """Insert `rows`, or set the columns `changes` of those whose `key` is there; the ids.

        A column `version` is counted up.
        """
        statement = self.upsert(table, key, changes).returning(table.c[key], table.c.id)
        return in_order(await session.execute(statement, sorted_by(key, rows)), rows, key)

    @abstractmethod
    def upsert(self, table: Table, key: str, changes: Sequence[str]) -> Insert:
        """The statement of `upsert_all`."""


def updates(table: Table, new: Any, changes: Sequence[str]) -> dict[str, Any]:
    """What an upsert sets: `changes`, as in the row `new`, and a column `version` counted up."""
    values: dict[str, Any] = {name: new[name] for name in changes}
    if "version" in table.c:
        # As text: with a parameter there, a driver may send one statement for each row.
        values["version"] = table.c.version + literal_column("1")
    return values


def sorted_by(key: str, rows: Rows) -> Rows:
    """Whoever writes the same rows waits for the first, and not each for one that the other has."""
    return sorted(rows, key=lambda row: row[key])


def in_order(found: Any, rows: Rows, key: str) -> list[int]:
    """Ids in the order of `rows`; a database returns them in any."""
    ids = {getattr(row, key): row.id for row in found}
    return [ids[row[key]] for row in rows]
