"""`python -m app`, as its user runs it: in a process of its own."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from app.settings import Settings, describe
from tests.processes import environment, run

pytestmark = pytest.mark.slow


@contextmanager
def serving(where: Path, *arguments: str, **settings: str) -> Iterator[tuple[int, list[str]]]:
    """The port of a service at a free one, and the lines that it has logged by then."""
    with subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--no-reload", "--port", "0", *arguments],
        cwd=where,
        env=environment(APP_LOGS__FORMAT="json", **settings),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                    break
            assert found, lines
            yield int(found[1]), lines
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


class TestHelp:
    def test_lists_every_command(self, tmp_path: Path) -> None:
        """Each with a sentence."""
        ended = run(tmp_path, "--help")
        assert ended.returncode == 0
        for command in ("openapi", "routes", "serve", "settings"):
            assert re.search(rf"^  {command} +[A-Z]", ended.stdout, re.MULTILINE)

    def test_tells_what_serving_does(self, tmp_path: Path) -> None:
        """Every option, with where its default comes from."""
        ended = run(tmp_path, "serve", "--help")
        for words in ("--host", "--port", "--workers", "--reload", "APP_HTTP__PORT", "SIGTERM"):
            assert words in ended.stdout


class TestLists:
    def test_settings(self, tmp_path: Path) -> None:
        """Each setting that is in force, from the environment or from `.env`."""
        (tmp_path / ".env").write_text("APP_HTTP__HOST=0.0.0.0\n")
        ended = run(tmp_path, "settings", APP_HTTP__PORT="8123")
        shown = dict(line.split("=", 1) for line in ended.stdout.splitlines())
        assert shown["APP_HTTP__PORT"] == "8123"
        assert shown["APP_HTTP__HOST"] == "0.0.0.0"  # noqa: S104  # text, bound by nobody
        assert set(shown) == {variable for variable, _, _ in describe(Settings())}

    def test_routes(self, tmp_path: Path) -> None:
        """Whole paths, with their methods."""
        ended = run(tmp_path, "routes")
        assert re.search(r"^GET +/health/ready +ready$", ended.stdout, re.MULTILINE)

    def test_openapi(self, tmp_path: Path) -> None:
        """A document that a program can read, and nothing else on standard output."""
        document = json.loads(run(tmp_path, "openapi").stdout)
        assert "/health/live" in document["paths"]
        assert "Problem" in document["components"]["schemas"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"APP_HTTP__PORT": "many"}, "APP_HTTP__PORT"),
            ({"APP_HTTP__ALLOWED_HOSTS": "[x"}, "APP_HTTP__ALLOWED_HOSTS"),
            ({"APP_ENVIRONMENT": "production", "APP_DEBUG": "true"}, "APP_DEBUG"),
        ],
    )
    def test_a_setting(self, tmp_path: Path, settings: dict[str, str], words: str) -> None:
        """One sentence that names it, and exit status 1."""
        ended = run(tmp_path, "serve", **settings)
        assert ended.returncode == 1
        [line] = ended.stderr.splitlines()
        assert line.startswith("Error: ")
        assert words in line

    def test_a_port_that_is_taken(self, tmp_path: Path) -> None:
        """The sentence says what to do about it."""
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            ended = run(tmp_path, "serve", "--port", str(taken.getsockname()[1]))
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        assert "choose another" in ended.stderr.splitlines()[-1]


def ask(port: int, head: bytes) -> bytes:
    """The first line of the answer to raw bytes."""
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        with suppress(ConnectionError):
            client.sendall(head)
        with client.makefile("rb") as answer:
            return answer.readline()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM, and no uvloop")
@pytest.mark.usefixtures("startable")
class TestServe:
    def test_answers_on_a_fast_loop(self, tmp_path: Path) -> None:
        """The server brings uvloop, the log says so; headers without end are refused."""
        with (
            serving(tmp_path) as (port, lines),
            closing(HTTPConnection("127.0.0.1", port, timeout=60)) as client,
        ):
            client.request("GET", "/health/ready")
            assert client.getresponse().status == 200
            head = b"GET /health/live HTTP/1.1\r\nHost: service\r\nX-Large: "
            assert b" 200 " in ask(port, head + b"a" * 30_000 + b"\r\n\r\n")
            assert b" 431 " in ask(port, head + b"a" * 300_000)
        [started] = [json.loads(line) for line in lines if "service started" in line]
        assert started["loop"].startswith("uvloop")
