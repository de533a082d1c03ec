"""One format for every log line: JSON in production, colour in a terminal.

The service's own lines go from structlog straight to bytes. Lines of libraries arrive through the
standard `logging` module and leave in the same format. Each line carries the id of the request that
it was written for.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from pydantic import BaseModel
from pydantic_core import to_json
from structlog.typing import EventDict, Processor

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
route: ContextVar[Callable[[], str] | None] = ContextVar("route", default=None)
"""Names the route of the request that is served, once it is known."""

# PIPE_BUF of Linux (POSIX, write): what is longer may be torn by what another process writes.
_WHOLE_BYTES = 4096

additions: list[Callable[[], Mapping[str, object]]] = []
"""What every line carries besides, asked for when it is written."""


class LogSettings(BaseModel):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is written."""

    format: Literal["auto", "json", "console"] = "auto"
    """`console` is coloured and for people; `auto` is `console` in a terminal, else `json`."""


def configure(settings: LogSettings) -> None:
    """Send every log line of this process to standard error; once per process, at its start."""
    as_console = settings.format == "console" or (
        settings.format == "auto" and sys.stderr is not None and sys.stderr.isatty()
    )
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    processors: list[Processor] = [_add_context]
    if as_console:
        # The default, where rich is installed, writes the values of all variables along.
        formatter = structlog.dev.plain_traceback
        processors += [
            structlog.processors.TimeStamper(fmt="iso", key="time"),
            structlog.dev.ConsoleRenderer(timestamp_key="time", exception_formatter=formatter),
        ]
    else:
        processors.append(_render)
    lines = (
        _Lines(sys.stderr, end="\n")
        if as_console
        else _Lines(getattr(sys.stderr, "buffer", None), end=b"\n")
    )
    _to[:] = [lines]
    structlog.configure(
        processors=processors,
        wrapper_class=type(
            "Logger",
            (structlog.make_filtering_bound_logger(level),),
            {"_proxy_to_logger": _write},
        ),
        logger_factory=lambda *_names: lines,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=level, handlers=[_ToStructlog()], force=True)
    logging.captureWarnings(True)
    if not as_console:
        _catch_the_rest()


def _catch_the_rest() -> None:
    """Make lines of the errors that Python itself would write to standard error."""
    log = structlog.get_logger()

    def on_end(*error: Any) -> None:
        log.critical("process failed", exc_info=error)

    def on_end_of_thread(end: threading.ExceptHookArgs) -> None:
        if end.exc_type is not SystemExit:
            error = (end.exc_type, end.exc_value, end.exc_traceback)
            log.error("thread failed", thread=end.thread and end.thread.name, exc_info=error)

    def on_unraisable(error: "sys.UnraisableHookArgs") -> None:
        found = (error.exc_type, error.exc_value, error.exc_traceback)
        log.error("error ignored", where=_described(error.object), exc_info=found)

    sys.excepthook = on_end
    threading.excepthook = on_end_of_thread
    sys.unraisablehook = on_unraisable


_lost = suppress(AttributeError, OSError, ValueError)


class _Lines:
    """Where lines go. It may be closed, full or without a reader: a lost one costs no request."""

    def __init__(self, stream: Any, *, end: Any) -> None:
        self._stream = stream
        self._end = end
        self._held: list[Any] | None = None

    def msg(self, line: Any) -> None:
        """What structlog calls with a line that is text or bytes, as `end` is."""
        if self._held is None:
            self._write(line + self._end)
        else:
            self._held.append(line + self._end)

    def hold(self) -> bool:
        """More lines follow at once. False where somebody has said so already."""
        if self._held is not None:
            return False
        self._held = []
        return True

    def release(self) -> None:
        """Write what was held."""
        held, self._held = self._held, None
        for piece in _pieces(held or []):
            self._write(piece)

    def _write(self, text: Any) -> None:
        with _lost:
            self._stream.write(text)
            self._stream.flush()


def _pieces(lines: Iterable[Any]) -> Iterator[Any]:
    """As many lines at a time as the processes that share a pipe may write without mixing them."""
    piece: list[Any] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > _WHOLE_BYTES:
            yield line[:0].join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield piece[0][:0].join(piece)


_to: list[_Lines] = []
"""Where the lines of this process go."""


@contextmanager
def together() -> Iterator[None]:
    """Write the lines of the block at once, which takes the system less than one by one."""
    held = [stream for stream in _to if stream.hold()]
    try:
        yield
    finally:
        for stream in held:
            stream.release()


class _ToStructlog(logging.Handler):
    """Hands a library's record to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  # a wrong format fails the line, not who writes it
            message = f"{record.msg} {_described(record.args)}"
        # Uvicorn's main logger is called so, whatever it has to say.
        name = record.name.removesuffix(".error")
        # structlog knows no levels in between.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        details = {"exc_info": record.exc_info} if record.exc_info and record.exc_info[0] else {}
        structlog.get_logger().log(level, message, logger=name, **details)


def place() -> dict[str, str]:
    """The route that a line is written for, for lines that ask for it."""
    name = route.get()
    return {} if name is None else {"route": name()}


def context() -> dict[str, object]:
    """What a line that is written here and now carries besides what it says."""
    current = request_id.get()
    carried: dict[str, object] = {} if current is None else {"request_id": current}
    for addition in additions:
        try:
            carried.update(addition())
        except Exception as error:  # noqa: BLE001  # a line is written, and a request served
            carried["without"] = _described(error)
    return carried


def _add_context(_logger: object, method: str, event: EventDict) -> EventDict:
    event.update(context())
    event["level"] = "error" if method == "exception" else method
    return event


def _write(
    logger: structlog.BoundLoggerBase, method: str, event: str | None = None, /, **details: Any
) -> None:
    """What structlog does with a line, which copies what it says several times on the way."""
    _put(logger, method, {**logger._context, **details, "event": event})  # noqa: SLF001


def _put(logger: structlog.BoundLoggerBase, method: str, line: Any) -> None:
    try:
        for processor in logger._processors:  # noqa: SLF001
            line = processor(logger._logger, method, line)  # noqa: SLF001
    except structlog.DropEvent:
        return
    logger._logger.msg(line)  # noqa: SLF001


def information(event: str, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write many lines of level info at once; structlog looks for its logger only once."""
    logger = structlog.get_logger().bind()
    if not logger.is_enabled_for(logging.INFO):
        return
    with together():
        for line in lines:
            _put(logger, "info", {**line, "event": event})


def _render(logger: object, method: str, event: EventDict) -> bytes:
    """One line of JSON. A processor of structlog's own for each step would cost twice as much."""
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, method, event)
    event["time"] = now = datetime.now(UTC)
    try:
        return to_json(event, fallback=repr, inf_nan_mode="strings")
    except ValueError:  # not UTF-8, circular, or without a representation
        event["time"] = now.isoformat()
        return json.dumps({key: _described(value) for key, value in event.items()}).encode()


def _described(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # a line is written, whatever is in it
        return f"<{type(value).__name__}>"
