"""A span for each statement of what is traced."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import Engine, event

from app.infra.monitoring.opentelemetry import TRACER

_LONGEST_STATEMENT = 2_000


@contextmanager
def statements_traced() -> Iterator[None]:
    """Look at the statements of every engine while the block runs."""
    listeners: dict[str, Callable[..., None]] = {
        "before_cursor_execute": _start,
        "after_cursor_execute": _stop,
        "handle_error": _fail,
    }
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)


def _start(
    connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool
) -> None:
    # What the service does by itself, every second, is no trace.
    if not trace.get_current_span().is_recording():
        return
    text = " ".join(statement.split())[:_LONGEST_STATEMENT]
    operation = text.partition(" ")[0].upper()
    context.span = TRACER.start_span(
        operation,
        kind=SpanKind.CLIENT,
        attributes={
            "db.system.name": connection.dialect.name,
            "db.operation.name": operation,
            # With placeholders, whose values are nobody's business.
            "db.query.text": text,
        },
    )


def _stop(
    _connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool
) -> None:
    if (span := getattr(context, "span", None)) is not None:
        span.end()


def _fail(error: Any) -> None:
    if (span := getattr(error.execution_context, "span", None)) is not None:
        span.set_attribute("error.type", type(error.original_exception).__qualname__)
        span.set_status(StatusCode.ERROR)
        span.end()
