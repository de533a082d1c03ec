"""Units of work: bounded in time, and their errors in the service's own words."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as AcquireTimeout

from app.errors import BadRequest, ServiceError, TimedOut, TryAgain, Unavailable
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
            raise self.gone(TimeoutError("unit of work timed out")) from late
        if isinstance(error, Exception):
            self.explain(error)

    def explain(self, error: Exception) -> None:
        """Raise what `error` means to a client, if it means anything."""
        if isinstance(error, AcquireTimeout):
            ERRORS.add(self._database, "busy")
            logger.warning("every database connection is busy", cause=type(error).__name__)
            raise Unavailable("Every database connection is busy; try again shortly.") from error
        if isinstance(_original(error), OverflowError):
            raise BadRequest("A value of the request is too large to be stored.") from error
        failure = self._failure(error)
        if failure is not None:
            raise self._told(failure, error) from error

    def gone(self, error: BaseException) -> Unavailable:
        """What to raise when the database did not answer; it is told and counted."""
        if not self._dialect.is_stale_plan(_original(error)):
            self._on_gone()
        ERRORS.add(self._database, "gone")
        logger.warning(Failure.GONE.value, cause=cause_of(error))
        # Nothing was kept, and the next connection is a new one.
        renewed = isinstance(error, DBAPIError) and error.connection_invalidated
        kind = TryAgain if renewed and not self.commits else Unavailable
        return kind("The database does not answer; try again shortly.")

    def _failure(self, error: Exception) -> Failure | None:
        if getattr(_original(error), "while_connecting", False):
            return Failure.GONE
        if not isinstance(error, DBAPIError):
            return self._dialect.own_failure(error)
        failure = self._dialect.failure(error)
        if failure is None:
            ERRORS.add(self._database, "other")
        return failure

    def _told(self, failure: Failure, error: Exception) -> ServiceError:
        """In words for a client, to whom the parameters of statements are nobody's business."""
        if failure is Failure.GONE:
            return self.gone(error)
        ERRORS.add(self._database, failure.name.lower())
        if failure is Failure.UNFIT:
            return BadRequest("A value of the request is too large to be stored.")
        logger.warning(failure.value, cause=cause_of(error))
        if failure is Failure.LATE:
            return TimedOut("The database took too long; ask for less, or try again.")
        return TryAgain("Somebody else wrote at the same moment; try again.")


def _original(error: BaseException) -> BaseException:
    """The driver's own, or that of a type, where SQLAlchemy has made one of it."""
    return error.orig if isinstance(error, StatementError) and error.orig else error


def cause_of(error: BaseException) -> str:
    """What went wrong, in one line."""
    cause = _original(error)
    return " ".join(str(cause).split()) or type(cause).__name__
