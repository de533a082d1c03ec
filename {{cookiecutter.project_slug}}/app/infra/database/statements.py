"""What statements cost: their share of a request's time, and those that are slow."""

import time
from typing import Any

import structlog
from sqlalchemy import Engine, event

from app.infra import logs, timing
from app.infra.monitoring import Counter, Histogram

logger = structlog.get_logger()

DURATION = Histogram(
    "database_statement_duration_seconds", "Statements, those that failed too", ["database"]
)
SLOW = Counter(
    "database_slow_statements_total", "Statements over the threshold for the log", ["database"]
)

_LOGGED_CHARACTERS = 2_000


class StatementWatch:
    """Listens to the statements of engines of one database."""

    def __init__(self, database: str, slow_seconds: float) -> None:
        self._database = database
        self._slow_seconds = slow_seconds

    def is_alone(self, engine: Engine) -> bool:
        """Whether nobody else listens to the statements of an engine that this one listens to."""
        events = engine.dispatch
        return (
            len(events.before_cursor_execute) == len(events.after_cursor_execute) == 1
            and not events.before_execute
            and not events.after_execute
        )

    def listen(self, engine: Engine) -> None:
        """Count the time of each statement towards the request that runs it; log the slow ones."""

        @event.listens_for(engine, "before_cursor_execute")
        def start(_connection: Any, _cursor: Any, *rest: Any) -> None:
            context = rest[2]
            context.started = time.perf_counter()

        @event.listens_for(engine, "after_cursor_execute")
        def stop(_connection: Any, _cursor: Any, *rest: Any) -> None:
            statement, context = rest[0], rest[2]
            self.count(statement, time.perf_counter() - context.started)

        @event.listens_for(engine, "handle_error")
        def fail(error: Any) -> None:
            # One that the database gave up was slow as well.
            if (started := getattr(error.execution_context, "started", None)) is not None:
                self.count(error.statement, time.perf_counter() - started)

    def count(self, statement: str, seconds: float) -> None:
        """Take note of a statement that has ended."""
        timing.add("database", seconds)
        DURATION.observe(seconds, self._database)
        if seconds > self._slow_seconds:
            SLOW.add(self._database)
            logger.warning(
                "slow statement",
                # With placeholders, whose values are nobody's business.
                statement=" ".join(statement.split())[:_LOGGED_CHARACTERS],
                duration_ms=round(seconds * 1e3, 2),
                **logs.place(),
            )
