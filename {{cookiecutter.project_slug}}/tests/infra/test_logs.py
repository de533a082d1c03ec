"""One format for every line, whoever writes it and whatever is in it."""

import json
import logging
import subprocess
import sys
import warnings
from datetime import UTC, datetime
from typing import Any, Self

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from app.infra import logs
from tests.recorded import recorded

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
    | st.datetimes(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)


PRELUDE = """
import asyncio, threading, warnings
from app.infra import logs
logs.configure(logs.LogSettings())
def fail():
    raise LookupError("lost")
"""


class Shy:
    """An object that cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("shy")


class TestJson:
    def test_line(self) -> None:
        """Event, level, time with its zone, and what was passed along."""
        with recorded() as log:
            structlog.get_logger().info("sold", lamps=3, colour=None)
        [line] = log.lines
        written = datetime.fromisoformat(line.pop("time"))
        assert written.tzinfo == UTC
        assert line == {"event": "sold", "level": "info", "lamps": 3, "colour": None}

    @given(st.text(st.characters()), ANYTHING)
    def test_is_one_line_whatever_is_in_it(self, event: str, value: Any) -> None:
        """No value breaks the line, the logger, or who writes."""
        with recorded() as log:
            structlog.get_logger().error(event, value=value)
        assert log.text.count("\n") == 1
        assert len(log.lines) == 1

    @pytest.mark.parametrize(
        "value", [Shy(), [Shy()], b"\xff", "\ud800", float("nan"), 10**400, object(), {1: {2}}]
    )
    def test_odd_values(self, value: object) -> None:
        """What JSON cannot say is described, and the rest of the line is there."""
        with recorded() as log:
            structlog.get_logger().info("odd", value=value, other=1)
        [line] = log.of("odd")
        assert "value" in line
        assert line["level"] == "info"

    def test_circle(self) -> None:
        """A value that contains itself ends somewhere."""
        circle: list[Any] = []
        circle.append(circle)
        with recorded() as log:
            structlog.get_logger().info("odd", value=circle)
        assert len(log.of("odd")) == 1

    def test_exception(self) -> None:
        """The traceback is one value of one line."""
        with recorded() as log:
            try:
                raise LookupError("two\nlines")
            except LookupError:
                structlog.get_logger().exception("failed")
        [line] = log.lines
        assert "Traceback" in line["exception"]
        assert "LookupError: two\nlines" in line["exception"]

    def test_without_a_request(self) -> None:
        """There is no id then, not even an empty one."""
        with recorded() as log:
            token = logs.request_id.set(None)
            structlog.get_logger().info("outside")
            logs.request_id.set("abc")
            structlog.get_logger().info("inside")
            logs.request_id.reset(token)
        outside, inside = log.lines
        assert "request_id" not in outside
        assert inside["request_id"] == "abc"


class TestAdditions:
    def test_one_that_fails_costs_no_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The line says so, and has the others."""

        def fail() -> dict[str, object]:
            raise LookupError("absent")

        monkeypatch.setattr(logs, "additions", [fail, lambda: {"trace": "abc"}])
        with recorded() as log:
            structlog.get_logger().info("sold")
        [line] = log.lines
        assert (line["without"], line["trace"]) == ("LookupError('absent')", "abc")


class TestLevel:
    @pytest.mark.parametrize(
        ("level", "written"),
        [
            ("debug", ["debug", "info", "warning", "error"]),
            ("info", ["info", "warning", "error"]),
            ("warning", ["warning", "error"]),
            ("error", ["error"]),
        ],
    )
    def test_is_the_least_that_is_written(self, level: Any, written: list[str]) -> None:
        """For the service's own lines and for those of libraries alike."""
        with recorded(level=level) as log:
            for logger in (structlog.get_logger(), logging.getLogger("library")):
                for method in ("debug", "info", "warning", "error"):
                    getattr(logger, method)(method)
        assert [line["event"] for line in log.lines] == written * 2
        assert [line["level"] for line in log.lines] == written * 2


class TestLibraries:
    def test_line(self) -> None:
        """The same format, with the name of the logger."""
        with recorded() as log:
            logging.getLogger("a.library").info("%s of %d", "one", 2)
        [line] = log.lines
        assert (line["event"], line["logger"], line["level"]) == ("one of 2", "a.library", "info")

    def test_exception(self) -> None:
        """The traceback comes along."""
        with recorded() as log:
            try:
                raise LookupError("theirs")
            except LookupError:
                logging.getLogger("library").exception("failed")
        [line] = log.lines
        assert "LookupError: theirs" in line["exception"]
        assert "exc_info" not in line

    def test_no_exception(self) -> None:
        """`exc_info` outside of an `except` is no error."""
        with recorded() as log:
            logging.getLogger("library").error("failed", exc_info=True)
        assert len(log.of("failed")) == 1

    @pytest.mark.parametrize("arguments", [(1,), ("a", "b"), ({"other": 1},), (Shy(),)])
    def test_arguments_that_do_not_fit(self, arguments: tuple[object, ...]) -> None:
        """A wrong format is written down, and does not fail the library."""
        with recorded() as log:
            logging.getLogger("library").info("%(name)s of %d", *arguments)
        [line] = log.lines
        assert line["event"].startswith("%(name)s of %d")

    @pytest.mark.parametrize(
        ("number", "level"), [(21, "info"), (25, "info"), (35, "warning"), (99, "critical")]
    )
    def test_levels_in_between(self, number: int, level: str) -> None:
        """Count as the one below."""
        with recorded() as log:
            logging.getLogger("library").log(number, "between")
        assert [line["level"] for line in log.lines] == [level]

    def test_percent_signs(self) -> None:
        """A message without arguments is taken as it is."""
        with recorded() as log:
            logging.getLogger("library").warning("100%s sure")
        assert log.lines[0]["event"] == "100%s sure"

    def test_warnings(self) -> None:
        """Python's own warnings go the same way."""
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            with recorded() as log:
                warnings.warn("old", DeprecationWarning, stacklevel=1)
        [line] = log.lines
        assert "DeprecationWarning: old" in line["event"]
        assert line["level"] == "warning"


THREAD = "threading.Thread(target=fail, name='mine').start()"
UNRAISABLE = """
class Failing:
    def __del__(self): fail()
Failing()
"""
FORGOTTEN = """
async def main():
    task = asyncio.create_task(asyncio.to_thread(fail))
    await asyncio.wait({task})
    del task
asyncio.run(main())
"""


class TestPython:
    @pytest.mark.parametrize(
        ("program", "event"),
        [
            ("fail()", "process failed"),
            (THREAD, "thread failed"),
            (UNRAISABLE, "error ignored"),
            (FORGOTTEN, "Task exception was never retrieved"),
            ("warnings.warn('careful, LookupError: lost', stacklevel=1)", "careful"),
        ],
    )
    def test_what_nobody_handled(self, program: str, event: str) -> None:
        """Is a line like any other, with its traceback."""
        ended = subprocess.run(
            [sys.executable, "-W", "always", "-c", PRELUDE + program],
            capture_output=True,
            check=False,
            text=True,
        )
        [line] = [json.loads(line) for line in ended.stderr.splitlines()]
        assert event in line["event"]
        assert "LookupError: lost" in line["event"] + line.get("exception", "")
        assert ended.returncode == (event == "process failed")


class TestLostStream:
    @pytest.mark.parametrize("form", ["json", "console"])
    def test_costs_nothing(self, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
        """Closed before the start, or full, or without a reader: who logs goes on."""
        for stream in (None, _Full()):
            with recorded():
                monkeypatch.setattr(sys, "stderr", stream)
                logs.configure(logs.LogSettings.model_validate({"format": form}))
                structlog.get_logger().info("lost")
                logging.getLogger("library").error("lost")


class TestTogether:
    def test_is_written_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """But never more than a pipe takes in one piece, nor less than a line."""
        stream = _Recorded()
        with recorded():
            monkeypatch.setattr(sys, "stderr", stream)
            logs.configure(logs.LogSettings())
            with logs.together():
                for size in (10, 10, 1_500, 1_500, 1_500, 9_000, 10):
                    structlog.get_logger().info("sold", what="x" * size)
                assert not stream.written
            structlog.get_logger().info("sold alone")
        assert [piece.count("sold") for piece in stream.written] == [4, 1, 1, 1, 1]
        assert all(piece.endswith("\n") for piece in stream.written)

    def test_within_another_is_part_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was held back before is not lost."""
        stream = _Recorded()
        with recorded():
            monkeypatch.setattr(sys, "stderr", stream)
            logs.configure(logs.LogSettings())
            with logs.together():
                structlog.get_logger().info("first")
                logs.information("many", [{"number": 1}, {"number": 2}])
                assert not stream.written
        [piece] = stream.written
        assert [json.loads(line)["event"] for line in piece.splitlines()] == [
            "first",
            "many",
            "many",
        ]


class _Recorded:
    """Standard error, by what it was given at a time."""

    def __init__(self) -> None:
        self.written: list[str] = []

    @property
    def buffer(self) -> Self:
        return self

    def isatty(self) -> bool:
        return False

    def write(self, text: str | bytes) -> int:
        self.written.append(text if isinstance(text, str) else text.decode())
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


class _Full(_Recorded):
    """Standard error on a device without space."""

    def write(self, _text: str | bytes) -> int:
        raise OSError("No space left on device")

    def flush(self) -> None:
        raise OSError("No space left on device")


class TestConsole:
    def test_is_for_people(self) -> None:
        """Not JSON; with the values and the traceback, but not the variables of its frames."""
        with recorded(log_format="console") as log:
            try:
                password = "hunter2"
                raise LookupError(str(len(password)))
            except LookupError:
                structlog.get_logger().exception("sold", lamps=3)
            logging.getLogger("library").warning("theirs")
        assert not log.text.startswith("{")
        for part in ("sold", "lamps", "LookupError: 7", "theirs"):
            assert part in log.text
        assert "hunter2" not in log.text

    @pytest.mark.parametrize(("terminal", "as_json"), [(True, False), (False, True)])
    def test_is_chosen_in_a_terminal(self, terminal: bool, as_json: bool) -> None:
        """`auto` asks whether somebody is looking."""
        with recorded(log_format="auto", terminal=terminal) as log:
            structlog.get_logger().info("sold")
        assert log.text.startswith("{") == as_json


def test_lines_are_written_to_standard_error() -> None:
    """Whole and at once, so that nothing is lost when the process dies."""
    program = (
        "import os, structlog; from app.infra import logs;"
        "logs.configure(logs.LogSettings());"
        "structlog.get_logger().info('sold', what='\\u00e9'); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b""
    assert done.stderr.decode().startswith('{"what":"é","event":"sold"')
    assert done.stderr.endswith(b"}\n")
