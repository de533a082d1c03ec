"""Units of work: bounded in time, and their errors in the service's own words."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as AcquireTimeout

from app.errors import BadRequest, TimedOut, TryAgain, Unavailable
from app.infra.database.dialect import Dialect, Failure
from app.infra.monitoring import Counter

logger = structlog.get_logger()

ERRORS = Counter(
    "database_errors_total", "Units of work that failed, by why", ["database", "error"]
)


def expect(database: str) -> None:
    """Tell what may happen to a database from the start on."""
    for why in ("busy", "other", *(failure.name.lower() for failure in Failure)):
        ERRORS.expect(database, why)


class Unit:
    """Bounds a block in time, and says what its errors mean."""

    commits = False
    """Whether the commit was sent: from there on nobody knows what became of it."""

    def __init__(
        self, database: str, dialect: Dialect, timeout_seconds: float, on_gone: Callable[[], None]
    ) -> None:
        self._database = database
        self._dialect = dialect
        self._on_gone = on_gone
        self._timer = asyncio.timeout(timeout_seconds)

    async def __aenter__(self) -> Self:
        await self._timer.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._timer.__aexit__(kind, error, traceback)
        except TimeoutError as late:
            raise self.gone("unit of work timed out") from late
        if isinstance(error, AcquireTimeout):
            ERRORS.add(self._database, "busy")
            logger.warning("every database connection is busy", cause=type(error).__name__)
            raise Unavailable("Every database connection is busy; try again shortly.") from error
        if isinstance(error, DBAPIError):
            self._explain(error)
        if isinstance(error, OverflowError):
            raise BadRequest("A number of the request is too large to be stored.") from error

    def gone(self, cause: str) -> Unavailable:
        """What to raise when the database did not answer; it is told and counted."""
        self._on_gone()
        ERRORS.add(self._database, "gone")
        logger.warning("database does not answer", cause=cause)
        return Unavailable("The database does not answer; try again shortly.")

    def _explain(self, error: DBAPIError) -> None:
        """Raise what `error` means to a client: its parameters are nobody's business."""
        refused = getattr(error.orig, "while_connecting", False)
        failure = Failure.GONE if refused else self._dialect.failure(error)
        ERRORS.add(self._database, failure.name.lower() if failure else "other")
        if failure is None:
            return
        if failure is Failure.UNFIT:
            raise BadRequest("A value of the request is too large to be stored.") from error
        logger.warning(failure.value, cause=cause_of(error))
        if failure is Failure.LATE:
            raise TimedOut("The database took too long; ask for less, or try again.") from error
        if failure is Failure.COLLISION:
            raise TryAgain("Somebody else wrote at the same moment; try again.") from error
        if not self._dialect.is_stale_plan(error.orig or error):
            self._on_gone()
        if error.connection_invalidated and not self.commits:
            # Nothing was kept, and the next connection is a new one.
            raise TryAgain("The database does not answer; try again shortly.") from error
        raise Unavailable("The database does not answer; try again shortly.") from error


def cause_of(error: BaseException) -> str:
    """What went wrong, in one line."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return " ".join(str(cause).split()) or type(cause).__name__
