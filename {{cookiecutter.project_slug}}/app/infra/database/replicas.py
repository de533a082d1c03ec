"""Read replicas: reads go round them, writes and what must be fresh to the primary."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import ServiceError, StartupError, Unavailable
from app.infra.database import freshness
from app.infra.database.engine import Database
from app.infra.database.prepared import Found, Prepared
from app.infra.database.server import ServerDialect, ServerSettings
from app.infra.database.unit import cause_of
from app.infra.lifecycle import ended

logger = structlog.get_logger()


def with_replicas(settings: ServerSettings, dialect: ServerDialect, *, workers: int) -> Database:
    """The database, with its replicas if it has any.

    Raises:
        StartupError: a URL is not one, or the pools of all workers are too large together.
    """
    if settings.replica_urls:
        return ReplicatedDatabase(settings, dialect, workers=workers)
    return Database(settings, dialect, workers=workers)


class Replica(Database):
    """A copy of the database that can be read."""

    healthy: bool | None = None
    """Whether it is read from; None until it has been looked at."""

    def __init__(
        self,
        settings: ServerSettings,
        dialect: ServerDialect,
        *,
        workers: int,
        name: str,
        primary: Database,
    ) -> None:
        super().__init__(settings, dialect, workers=workers, name=name, on_gone=self._lose)
        self._server_dialect = dialect
        self._primary = primary
        self._max_lag_seconds = settings.replica_max_lag_seconds
        self._check_seconds = settings.replica_check_seconds
        self._timeout_seconds = settings.connect_timeout_seconds
        self._keeps_up = False
        self._losses = 0
        self._deaths = 0
        self._renew_dead(self._engine.sync_engine)

    async def watch(self) -> None:
        """Look at it again and again."""
        while True:
            await self._look()
            await asyncio.sleep(self._check_seconds)

    async def _look(self) -> None:
        losses = self._losses
        # Left out then, although its driver may take seconds more to give the statement up.
        late = asyncio.get_running_loop().call_later(self._timeout_seconds, self._lose)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                lag_seconds = await self._server_dialect.lag_seconds(self._health)
        except Exception as error:  # noqa: BLE001  # whatever it is, nobody reads from there
            self._deaths += 1
            self._lose(cause=cause_of(error))
            return
        finally:
            late.cancel()
        # If the primary is lost to everybody, what a replica has is the newest that there is.
        if math.isfinite(lag_seconds) or await self._primary_answers():
            self._keeps_up = lag_seconds <= self._max_lag_seconds
        if not self._keeps_up:
            self._leave(cause="it is behind", lag_seconds=lag_seconds)
        elif not self.healthy and losses == self._losses:  # nor was it lost since it was asked
            self.healthy = True
            logger.info("replica joined", replica=self.name, lag_seconds=round(lag_seconds, 3))

    async def _primary_answers(self) -> bool:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._primary.check()
        except Exception:  # noqa: BLE001  # whoever uses it will tell
            return False
        return True

    def _renew_dead(self, engine: Engine) -> None:
        """Use no connection again that is older than the last look that failed."""

        @event.listens_for(engine, "connect")
        def note(_connection: Any, record: ConnectionPoolEntry) -> None:
            record.info["deaths"] = self._deaths

        @event.listens_for(engine, "checkout")
        def refuse(_connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
            if record.info["deaths"] != self._deaths:
                raise DisconnectionError

    def _lose(self, cause: str = "it does not answer") -> None:
        self._losses += 1
        self._leave(cause=cause)

    def _leave(self, **details: object) -> None:
        if self.healthy is not False:
            self.healthy = False
            logger.warning("replica left out", replica=self.name, **details)


class ReplicatedDatabase(Database):
    """A primary and its replicas.

    A dead replica, or one that is too far behind, is left out until it is back; when none is left,
    the primary is read from. It does not help replicas that are only busy: it has the writes, and
    reads beyond those that its replicas can take would cost it these too.
    """

    def __init__(self, settings: ServerSettings, dialect: ServerDialect, *, workers: int) -> None:
        super().__init__(settings, dialect, workers=workers)
        try:
            self.replicas = [
                Replica(
                    settings.model_copy(update={"url": url}),
                    dialect,
                    workers=workers,
                    name=f"replica {number}",
                    primary=self,
                )
                for number, url in enumerate(settings.replica_urls, start=1)
            ]
        except StartupError:
            raise StartupError(
                "APP_DATABASE__REPLICA_URLS has one that this service cannot use;"
                f' write them like ["{dialect.example_url}"].'
            ) from None
        self._reads = 0
        self._watchers: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        await super().open()
        self._watchers = [asyncio.create_task(replica.watch()) for replica in self.replicas]

    async def close(self) -> None:
        # Told once, a driver may ask a server that hangs to give its statement up.
        await ended(*self._watchers)
        async with AsyncExitStack() as stack:
            for replica in self.replicas:
                stack.push_async_callback(replica.close)
            # First of all: it answers who still waits, from whichever replica.
            stack.push_async_callback(super().close)

    def members(self) -> Sequence[Database]:
        return [self, *self.replicas]

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            yield await self._connect(stack)

    async def fetch(self, prepared: Prepared, values: Mapping[str, Any]) -> Found:
        while (replica := self._next_replica()) is not None:
            try:
                return await replica.fetch(prepared, values)
            except Unavailable:
                if replica.healthy:  # and busy
                    raise
        return await super().fetch(prepared, values)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        freshness.pin()
        async with super().writing() as session:
            yield session

    async def change(
        self, prepared: Prepared, values: Mapping[str, Any], conflict: Callable[[], ServiceError]
    ) -> Found:
        freshness.pin()
        return await super().change(prepared, values, conflict)

    def _reads_alone(self) -> bool:
        return freshness.is_pinned()

    async def _connect(self, stack: AsyncExitStack) -> AsyncConnection:
        while (replica := self._next_replica()) is not None:
            try:
                return await stack.enter_async_context(replica.reading())
            except Unavailable:
                if replica.healthy:  # and busy
                    raise
        return await stack.enter_async_context(super().reading())

    def _next_replica(self) -> Replica | None:
        """The replicas in turn; None when the primary is to be read from."""
        if freshness.is_pinned():
            return None
        healthy = [replica for replica in self.replicas if replica.healthy]
        if not healthy:
            return None
        self._reads += 1
        return healthy[self._reads % len(healthy)]
