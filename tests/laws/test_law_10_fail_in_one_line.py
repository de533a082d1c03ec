"""Law 10: what cannot start says why in one sentence, names the remedy, and exits with 1."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from choices import Answers, corner
from conftest import Install
from project import Installed, clean_environment, free_ports
from services import Database

SECRET = "long enough to be one"
PRODUCTION = {
    "APP_ENVIRONMENT": "production",
    "APP_SECRET_KEY": SECRET,
    "APP_HTTP__ALLOWED_HOSTS": '["api.example.com"]',
}
# Settings, and what the sentence must name.
EVERYWHERE = {
    "no boolean": ({"APP_DEBUG": "perhaps"}, "APP_DEBUG"),
    "no number": ({"APP_HTTP__PORT": "http"}, "APP_HTTP__PORT"),
    "no JSON": ({"APP_HTTP__ALLOWED_HOSTS": "a,b"}, "ALLOWED_HOSTS"),
    "debug in production": ({**PRODUCTION, "APP_DEBUG": "true"}, "APP_DEBUG"),
    "any host in production": (
        {**PRODUCTION, "APP_HTTP__ALLOWED_HOSTS": '["*"]'},
        "APP_HTTP__ALLOWED_HOSTS",
    ),
}
WITH_DATABASE = {
    "missing folder": (
        {"APP_DATABASE__URL": "sqlite+aiosqlite:///missing/service.db"},
        "APP_DATABASE__URL",
    ),
    "no URL": ({"APP_DATABASE__URL": "service.db"}, "APP_DATABASE__URL"),
}
# At a port where nobody listens.
MISSING_SERVERS = {
    "asyncpg": "postgresql+asyncpg://app:app@127.0.0.1:1/app",
    "psycopg": "postgresql+psycopg://app:app@127.0.0.1:1/app",
    "asyncmy": "mysql+asyncmy://app:app@127.0.0.1:1/app",
}
WITH_CACHE_SERVER = {
    "no URL": ({"APP_CACHE__URL": "localhost"}, "APP_CACHE__URL"),
    "no URL for sessions": ({"APP_SESSIONS__URL": "localhost"}, "APP_SESSIONS__URL"),
    "known URL in production": (PRODUCTION, "APP_CACHE__URL"),
}
WITHOUT_TABLES = {**PRODUCTION, "APP_DATABASE__URL": "sqlite+aiosqlite:///new.db"}


def faults(ended: subprocess.CompletedProcess[str], named: str) -> Iterator[str]:
    """How an ending differs from one sentence and exit code 1."""
    if ended.returncode != 1:
        yield f"exit code {ended.returncode}"
    # The log may stand before it: a part can have been opened when another one fails.
    sentences = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    if len(sentences) != 1:
        yield f"{len(sentences)} lines"
    if "Traceback" in ended.stderr + ended.stdout:
        yield "a traceback"
    if not any(named in sentence for sentence in sentences):
        yield f"{named} is not named"


def start(project: Installed, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`serve` with these settings, which it should refuse."""
    return subprocess.run(
        [project.python, "-m", "app", "serve", "--no-reload", "--port", "0"],
        capture_output=True,
        check=False,
        cwd=project.path,
        env=clean_environment() | free_ports(project) | settings,
        stdin=subprocess.DEVNULL,
        timeout=60,
        encoding="utf-8",
    )


@pytest.mark.environment
class TestServe:
    @corner("defaults", "bare")
    @pytest.mark.parametrize(("settings", "named"), EVERYWHERE.values(), ids=EVERYWHERE.keys())
    def test_bad_setting(
        self, installed: Install, answers: Answers, settings: dict[str, str], named: str
    ) -> None:
        """Malformed, or unsafe in production."""
        ended = start(installed(answers), settings)
        assert not list(faults(ended, named)), ended.stderr

    @corner("defaults", "no-example")
    @pytest.mark.parametrize(
        ("settings", "named"), WITH_DATABASE.values(), ids=WITH_DATABASE.keys()
    )
    def test_database_that_does_not_open(
        self, installed: Install, answers: Answers, settings: dict[str, str], named: str
    ) -> None:
        """A folder that is missing, an address that is none."""
        ended = start(installed(answers), settings)
        assert not list(faults(ended, named)), ended.stderr

    @corner("asyncpg+tiered", "psycopg+redis", "asyncmy+no-cache")
    def test_server_that_is_missing(self, installed: Install, answers: Answers) -> None:
        """Told with its URL, but not with its password."""
        url = MISSING_SERVERS[answers["database_driver"]]
        ended = start(installed(answers), {"APP_DATABASE__URL": url})
        assert not list(faults(ended, "APP_DATABASE__URL")), ended.stderr
        assert ":***@" in ended.stderr

    @corner("celery-redis")
    def test_queue_that_is_missing(self, installed: Install, answers: Answers) -> None:
        """Waited for, and then told."""
        missing = {"APP_TASKS__URL": "redis://127.0.0.1:1/0"}
        ended = start(installed(answers), {**missing, "APP_TASKS__START_TIMEOUT_SECONDS": "0.1"})
        assert not list(faults(ended, "APP_TASKS__URL")), ended.stderr

    @corner("asyncpg+tiered", "psycopg+redis", "asyncmy+no-cache")
    def test_database_that_everybody_knows(self, installed: Install, answers: Answers) -> None:
        """The default URL, with its password, is for development only."""
        ended = start(installed(answers), PRODUCTION)
        assert not list(faults(ended, "APP_DATABASE__URL")), ended.stderr

    @corner("psycopg+redis", "asyncpg+tiered")
    @pytest.mark.parametrize(
        ("settings", "named"), WITH_CACHE_SERVER.values(), ids=WITH_CACHE_SERVER.keys()
    )
    def test_cache_that_cannot_be(
        self,
        installed: Install,
        database: Database,
        answers: Answers,
        settings: dict[str, str],
        named: str,
    ) -> None:
        """An address that is none, or that everybody knows; a server that is away is no fault."""
        project = installed(answers)
        given = {} if settings == PRODUCTION else database(project, answers)
        ended = start(project, given | settings)
        assert not list(faults(ended, named)), ended.stderr

    @corner("defaults")
    def test_pending_migration(self, installed: Install, answers: Answers) -> None:
        """In production nothing migrates by itself."""
        ended = start(installed(answers), WITHOUT_TABLES)
        assert not list(faults(ended, "python -m app migrate")), ended.stderr


class TestCaught:
    @pytest.mark.parametrize(
        ("program", "fault"),
        [
            ("raise ValueError('APP_X')", "a traceback"),
            ("import sys; sys.exit('two\\nlines: APP_X')", "2 lines"),
            ("import sys; print('APP_X', file=sys.stderr); sys.exit(2)", "exit code 2"),
            ("import sys; sys.exit('It does not work.')", "APP_X is not named"),
        ],
        ids=["traceback", "two lines", "other code", "no remedy"],
    )
    def test_poor_ending(self, tmp_path: Path, program: str, fault: str) -> None:
        """Each way of failing badly is told."""
        ended = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            encoding="utf-8",
        )
        assert fault in list(faults(ended, "APP_X"))
