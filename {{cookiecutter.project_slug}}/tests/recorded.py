"""The lines that the service writes to its log."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import structlog

from app.infra import logs


class _Stream(io.TextIOWrapper):
    terminal = False

    def isatty(self) -> bool:
        return self.terminal


class Log:
    """What was written so far."""

    def __init__(self, *, terminal: bool) -> None:
        self._bytes = io.BytesIO()
        self.stream = _Stream(self._bytes, encoding="utf-8", write_through=True)
        self.stream.terminal = terminal

    @property
    def text(self) -> str:
        return self._bytes.getvalue().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Each line of a log in JSON."""
        return [json.loads(line) for line in self.text.split("\n") if line]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        return [line for line in self.lines if line["event"] == event]


@contextmanager
def recorded(
    *,
    log_format: Literal["auto", "json", "console"] = "json",
    level: Literal["debug", "info", "warning", "error"] = "info",
    terminal: bool = False,
) -> Iterator[Log]:
    """The log of the block, configured as in a process of the service."""
    log = Log(terminal=terminal)
    root = logging.getLogger()
    before = structlog.get_config(), root.level, root.handlers[:]
    root.handlers[:] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", log.stream)
        # The test's own client writes lines too.
        patch.setattr(logging.getLogger("httpx2"), "disabled", True)
        logs.configure(logs.LogSettings(format=log_format, level=level))
        # The loggers of modules live longer than this block.
        structlog.configure(cache_logger_on_first_use=False)
        try:
            yield log
        finally:
            logging.captureWarnings(False)
            structlog.configure(**before[0])
            root.setLevel(before[1])
            root.handlers[:] = before[2]
