"""What every test starts from: settings of its own, and a client of the whole service."""

# {% if cookiecutter.database_driver != "none" %}
import asyncio
# {% endif %}
import os
# {% if cookiecutter.database_driver == "aiosqlite" %}
import shutil
# {% endif %}
# {% if cookiecutter.cache_backend not in ["memory", "none"] %}
import uuid
# {% endif %}
# {% if cookiecutter.database_driver in ["aiosqlite", "none"] %}
from collections.abc import AsyncIterator
# {% else %}
from collections.abc import AsyncIterator, Iterator
# {% endif %}
# {% if cookiecutter.database_driver == "aiosqlite" %}
from pathlib import Path
# {% endif %}

import hypothesis
import pytest
import structlog
from fastapi import FastAPI
from httpx2 import AsyncClient
# {% if cookiecutter.cache_backend not in ["memory", "none"] or cookiecutter.task_queue not in ["in-process", "none"] %}
from pydantic import BaseModel
# {% endif %}

from app.main import create_app
from app.settings import PREFIX, Settings
# {% if cookiecutter.database_driver != "none" %}
from tests.databases import migrate, with_database
# {% endif %}
# {% if cookiecutter.database_driver == "asyncmy" %}
from tests.mysql import SLEEP, PrivateServer, Server, find, missing_binaries
# {% elif cookiecutter.database_driver in ["asyncpg", "psycopg"] %}
from tests.postgresql import SLEEP, PrivateServer, Server, find, missing_binaries
# {% endif %}
# {% if cookiecutter.task_queue in ["taskiq-rabbitmq", "celery-rabbitmq"] %}
from tests.rabbitmq_servers import TEST_BROKER_URL, new_prefix
from tests.rabbitmq_servers import broker_server as broker_server
from tests.rabbitmq_servers import private_broker as private_broker
# {% endif %}
# {% if cookiecutter.task_queue in ["taskiq-redis", "celery-redis"] %}
from tests.redis_broker import TEST_BROKER_URL, new_prefix
from tests.redis_broker import private_broker as private_broker
# {% endif %}
# {% if cookiecutter.cache_backend not in ["memory", "none"] %}
from tests.redis_servers import TEST_REDIS_URL
from tests.redis_servers import private_redis as private_redis
from tests.redis_servers import redis_url as redis_url
from tests.redis_servers import where as where
# {% endif %}
# {% if cookiecutter.database_driver not in ["aiosqlite", "none"] %}
from tests.servers import ServerMissing
from tests.services import skip_or_fail
# {% endif %}
from tests.serving import running

# A busy machine takes its time, which is no failure.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# The default shows the source of each line of a traceback where rich is installed, and to read it
# blocks: a test whose handler fails would tell of that instead.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)
# {% if cookiecutter.database_driver not in ["aiosqlite", "none"] or cookiecutter.cache_backend not in ["memory", "none"] or cookiecutter.task_queue not in ["in-process", "none"] %}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-services",
        action="store_true",
        help="fail, instead of skipping, the tests whose server does not answer",
    )
# {% endif %}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own settings out of the tests."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    # {% if cookiecutter.monitoring == "prometheus" %}
    # Several services run at once, and none is looked at unless a test asks for it.
    for port in ("PORT", "WORKER_PORT"):
        monkeypatch.setenv(f"APP_MONITORING__{port}", "0")
    # {% endif %}
    # {% if cookiecutter.monitoring == "opentelemetry" %}
    # A collector that is there hears nothing of the tests.
    monkeypatch.setenv("APP_MONITORING__ENDPOINT", "none")
    # {% endif %}
    # {% if cookiecutter.monitoring != "none" %}
    monkeypatch.setenv("APP_MONITORING__SAMPLE_SECONDS", "3600")
    # {% endif %}
# {% if cookiecutter.cache_backend not in ["memory", "none"] or cookiecutter.task_queue not in ["in-process", "none"] %}


def with_own_keys(settings: Settings) -> Settings:
    """`settings` with names of the test's own in the servers that are there."""
    # Time-outs that no busy machine runs into; tests that are about them set their own.
    rooms: dict[str, BaseModel] = {}
    # {% if cookiecutter.cache_backend not in ["memory", "none"] %}
    own = {
        "url": TEST_REDIS_URL,
        "prefix": f"test-{uuid.uuid4().hex}",
        "connect_timeout_seconds": 20,
        "timeout_seconds": 20,
    }
    rooms["cache"] = settings.cache.model_copy(update=own)
    rooms["sessions"] = settings.sessions.model_copy(update=own)
    # {% endif %}
    # {% if cookiecutter.task_queue not in ["in-process", "none"] %}
    queue = {"url": TEST_BROKER_URL, "prefix": new_prefix(), "timeout_seconds": 20}
    rooms["tasks"] = settings.tasks.model_copy(update=queue)
    # {% endif %}
    return settings.model_copy(update=rooms)
# {% endif %}
# {% if cookiecutter.database_driver == "aiosqlite" %}


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with every revision, for the tests to copy."""
    path = tmp_path_factory.mktemp("database") / "migrated.db"
    asyncio.run(migrate(with_database(Settings(), url=f"sqlite+aiosqlite:///{path}")))
    return path


@pytest.fixture
def new_database(tmp_path: Path) -> str:
    """The URL of an empty database of the test's own."""
    return f"sqlite+aiosqlite:///{tmp_path}/new.db"


@pytest.fixture
def settings(migrated_file: Path, tmp_path: Path) -> Settings:
    """Settings with a database of the test's own, up to date and empty."""
    return _with_copy(migrated_file, tmp_path)


# {% if cookiecutter.task_queue != "none" %}
@pytest.fixture(scope="module")
def shared_settings(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a database that the tests of a module share."""
    return _with_copy(migrated_file, tmp_path_factory.mktemp("shared"))


# {% endif %}
def _with_copy(migrated_file: Path, folder: Path) -> Settings:
    path = folder / "test.db"
    shutil.copy(migrated_file, path)
    # Time-outs that no busy machine runs into; tests that are about them set their own.
    patient = {
        "acquire_timeout_seconds": 60,
        "busy_timeout_seconds": 60,
        "unit_timeout_seconds": 120,
    }
    # {% if cookiecutter.cache_backend not in ["memory", "none"] or cookiecutter.task_queue not in ["in-process", "none"] %}
    own = with_database(Settings(), url=f"sqlite+aiosqlite:///{path}", **patient)
    return with_own_keys(own)
    # {% else %}
    return with_database(Settings(), url=f"sqlite+aiosqlite:///{path}", **patient)
    # {% endif %}
# {% elif cookiecutter.database_driver != "none" %}


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Server:
    """The server in which the tests make databases of their own."""
    try:
        return find(Settings.model_fields["database"].default.url)
    except ServerMissing as missing:
        skip_or_fail(pytestconfig, str(missing))
        raise


@pytest.fixture
def private_server(pytestconfig: pytest.Config) -> Iterator[PrivateServer]:
    """A server of the test's own, started, which it may harm."""
    if (reason := missing_binaries()) is not None:
        skip_or_fail(pytestconfig, reason)
    private = PrivateServer(Settings.model_fields["database"].default.url)
    try:
        private.start()
        yield private
    finally:
        private.close()


@pytest.fixture
def sleep() -> str:
    """A statement that takes a minute."""
    return SLEEP


@pytest.fixture
def new_database(server: Server) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(scope="session")
def migrated_database(server: Server) -> Iterator[str]:
    """The URL of a database with every revision, which the tests of this process use in turn."""
    url = server.create()
    asyncio.run(migrate(with_database(Settings(), url=url)))
    yield url
    server.drop(url)


@pytest.fixture
def settings(server: Server, migrated_database: str) -> Settings:
    """Settings with a database that is up to date and empty."""
    server.empty(migrated_database)
    return _with_database(migrated_database)


# {% if cookiecutter.task_queue != "none" %}
@pytest.fixture(scope="module")
def shared_settings(server: Server, migrated_database: str) -> Settings:
    """Settings with a database that the tests of a module share."""
    server.empty(migrated_database)
    return _with_database(migrated_database)


# {% endif %}
def _with_database(migrated_database: str) -> Settings:
    # Time-outs that no busy machine runs into; tests that are about them set their own.
    patient = {"acquire_timeout_seconds": 60, "unit_timeout_seconds": 120}
    # {% if cookiecutter.cache_backend not in ["memory", "none"] or cookiecutter.task_queue not in ["in-process", "none"] %}
    own = with_database(Settings(), url=migrated_database, **patient)
    return with_own_keys(own)
    # {% else %}
    return with_database(Settings(), url=migrated_database, **patient)
    # {% endif %}
# {% else %}


@pytest.fixture
def settings() -> Settings:
    """Settings as they are when nothing is set."""
    # {% if cookiecutter.cache_backend not in ["memory", "none"] %}
    return with_own_keys(Settings())
    # {% else %}
    return Settings()
    # {% endif %}
# {% if cookiecutter.task_queue != "none" %}


@pytest.fixture(scope="module")
def shared_settings() -> Settings:
    """Settings that the tests of a module share."""
    # {% if cookiecutter.cache_backend not in ["memory", "none"] %}
    return with_own_keys(Settings())
    # {% else %}
    return Settings()
    # {% endif %}
# {% endif %}
# {% endif %}


@pytest.fixture
# {% if cookiecutter.database_driver in ["aiosqlite", "none"] and cookiecutter.cache_backend in ["memory", "none"] and cookiecutter.task_queue in ["in-process", "none"] and cookiecutter.error_tracking == "none" %}
def elsewhere() -> None:
    """What production must not leave as it is in development: nothing that is elsewhere."""
# {% else %}
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What production must not leave as it is in development: where the servers are."""
    # {% if cookiecutter.database_driver not in ["aiosqlite", "none"] %}
    url: str = Settings.model_fields["database"].default.url
    monkeypatch.setenv("APP_DATABASE__URL", url.replace("127.0.0.1", "database"))
    # {% endif %}
    # {% if cookiecutter.cache_backend not in ["memory", "none"] %}
    monkeypatch.setenv("APP_CACHE__URL", "redis://cache:6379/0")
    monkeypatch.setenv("APP_SESSIONS__URL", "redis://sessions:6379/0")
    # {% endif %}
    # {% if cookiecutter.task_queue not in ["in-process", "none"] %}
    queue_url: str = Settings.model_fields["tasks"].default.url
    monkeypatch.setenv("APP_TASKS__URL", queue_url.replace("127.0.0.1", "tasks"))
    # {% endif %}
    # {% if cookiecutter.error_tracking == "sentry" %}
    monkeypatch.setenv("APP_SENTRY__DSN", "https://key@sentry.invalid/1")
    # {% endif %}
# {% endif %}


@pytest.fixture
# {% if cookiecutter.database_driver == "none" and cookiecutter.cache_backend in ["memory", "none"] and cookiecutter.error_tracking == "none" %}
def startable() -> None:
    """Whatever the service needs to start in a process of its own: nothing."""
# {% elif cookiecutter.database_driver == "none" %}
def startable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the service needs to start in a process of its own: keys."""
    # {% else %}
def startable(new_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the service needs to start in a process of its own: a database."""
    monkeypatch.setenv("APP_DATABASE__URL", new_database)
    # {% endif %}
    # {% if cookiecutter.cache_backend not in ["memory", "none"] %}
    prefix = f"test-{uuid.uuid4().hex}"
    for room in ("CACHE", "SESSIONS"):
        # Not as it is in development, which production would refuse.
        monkeypatch.setenv(f"APP_{room}__URL", TEST_REDIS_URL.replace("127.0.0.1", "localhost"))
        monkeypatch.setenv(f"APP_{room}__PREFIX", prefix)
    # {% endif %}
    # {% if cookiecutter.task_queue not in ["in-process", "none"] %}
    # Not as it is in development, which production would refuse.
    monkeypatch.setenv("APP_TASKS__URL", TEST_BROKER_URL.replace("127.0.0.1", "localhost"))
    monkeypatch.setenv("APP_TASKS__PREFIX", new_prefix())
    # {% endif %}
    # {% if cookiecutter.error_tracking == "sentry" %}
    monkeypatch.setenv("APP_SENTRY__DSN", "https://key@sentry.invalid/1")
# {% endif %}


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """The service as `settings` make it."""
    return create_app(settings)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of the whole service."""
    async with running(app) as serving:
        yield serving
