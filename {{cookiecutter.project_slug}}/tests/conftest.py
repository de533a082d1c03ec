"""What every test starts from: settings of its own, and a client of the whole service."""

# {% if cookiecutter.database_driver != "none" %}
import asyncio
# {% endif %}
import os
# {% if cookiecutter.database_driver != "none" %}
import shutil
# {% endif %}
from collections.abc import AsyncIterator
# {% if cookiecutter.database_driver != "none" %}
from pathlib import Path
# {% endif %}

import hypothesis
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

# {% if cookiecutter.database_driver != "none" %}
from app import bootstrap
from app.infra.database import DatabaseSettings
# {% endif %}
from app.main import create_app
from app.settings import PREFIX, Settings
from tests.serving import running

# A busy machine takes its time, which is no failure.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


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
# {% if cookiecutter.database_driver != "none" %}


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with every revision, for the tests to copy."""
    path = tmp_path_factory.mktemp("database") / "migrated.db"
    asyncio.run(bootstrap.prepare(Settings(database=_settings_for(path))))
    return path


@pytest.fixture
def settings(migrated_file: Path, tmp_path: Path) -> Settings:
    """Settings with a database of the test's own, up to date and empty."""
    path = tmp_path / "test.db"
    shutil.copy(migrated_file, path)
    return Settings(database=_settings_for(path))


def _settings_for(path: Path) -> DatabaseSettings:
    # Time-outs that no busy machine runs into; tests that are about them set their own.
    return DatabaseSettings(
        url=f"sqlite+aiosqlite:///{path}", acquire_timeout_seconds=60, busy_timeout_seconds=60
    )
# {% else %}


@pytest.fixture
def settings() -> Settings:
    """Settings as they are when nothing is set."""
    return Settings()
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
