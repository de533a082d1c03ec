"""The lines that the service writes to its log."""

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import structlog

from app.infra import logs

HOOKS = [(sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")]


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
        return lines_of(self.text)

    def of(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        return [line for line in self.lines if line["event"] == event]


def lines_of(text: str) -> list[dict[str, Any]]:
    """The lines of a log in JSON; whoever has written something else fails the test."""
    lines = text.split("\n")
    strangers = [line for line in lines if line and not line.startswith("{")]
    assert not strangers, "\n".join(strangers)
    return [json.loads(line) for line in lines if line]


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
        # They are set, and are what pytest listens to.
        for module, hook in HOOKS:
            patch.setattr(module, hook, getattr(module, hook))
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
