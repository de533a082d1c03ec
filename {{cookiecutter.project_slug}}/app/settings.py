"""Every setting of the service, grouped by room.

Each is an environment variable, or a line in `.env`: `APP_` and the name, with two underscores
between a room and its setting, as in `APP_HTTP__PORT`. `.env.example` lists them all.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from typing import Literal, Self

from pydantic import BaseModel, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails, to_json
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from app.errors import StartupError
# {% if cookiecutter.cache_backend == "memory" %}
from app.infra.cache.memory import MemorySettings
# {% elif cookiecutter.cache_backend == "redis" %}
from app.infra.cache.redis import RedisSettings
# {% elif cookiecutter.cache_backend == "tiered" %}
from app.infra.cache.tiered import TieredSettings
# {% endif %}
# {% if cookiecutter.database_driver == "aiosqlite" %}
from app.infra.database.sqlite import SqliteSettings
# {% elif cookiecutter.database_driver != "none" %}
from app.infra.database.server import ServerSettings
# {% endif %}
# {% if cookiecutter.example != "none" %}
from app.infra.http.pages import Secret
# {% endif %}
from app.infra.http.settings import HttpSettings
from app.infra.logs import LogSettings
# {% if cookiecutter.monitoring == "prometheus" %}
from app.infra.monitoring.prometheus import PrometheusSettings
# {% elif cookiecutter.monitoring == "opentelemetry" %}
from app.infra.monitoring.opentelemetry import OpenTelemetrySettings
# {% endif %}
# {% if cookiecutter.error_tracking == "sentry" %}
from app.infra.monitoring.sentry import SentrySettings
# {% endif %}
from app.infra.profiling import ProfilingSettings
# {% if cookiecutter.cache_backend == "memory" %}
from app.infra.sessions.memory import MemorySessionSettings
# {% elif cookiecutter.cache_backend != "none" %}
from app.infra.sessions.redis import RedisSessionSettings
# {% endif %}
# {% if cookiecutter.task_queue == "celery-rabbitmq" %}
from app.infra.tasks.celery_rabbitmq import CeleryRabbitmqSettings
# {% elif cookiecutter.task_queue == "celery-redis" %}
from app.infra.tasks.celery_redis import CeleryRedisSettings
# {% elif cookiecutter.task_queue == "in-process" %}
from app.infra.tasks.in_process import InProcessSettings
# {% elif cookiecutter.task_queue == "taskiq-redis" %}
from app.infra.tasks.taskiq_redis import TaskiqRedisSettings
# {% elif cookiecutter.task_queue == "taskiq-rabbitmq" %}
from app.infra.tasks.taskiq_rabbitmq import TaskiqRabbitmqSettings
# {% endif %}

PREFIX = "APP_"
_MASKED = "**********"
# {% if cookiecutter.database_driver != "none" or cookiecutter.cache_backend not in ["memory", "none"] %}
_SLUG = "{{ cookiecutter.project_slug }}"
# {% endif %}
# {% if cookiecutter.database_driver != "none" %}
_DATABASE_URL = f"{{ cookiecutter.__database_url }}"
# {% endif %}
# {% if cookiecutter.cache_backend not in ["memory", "none"] %}
_CACHE_URL = "redis://127.0.0.1:6379/0"
_SESSIONS_URL = "redis://127.0.0.1:6380/0"
# {% endif %}
# {% if cookiecutter.task_queue in ["taskiq-redis", "celery-redis"] %}
_TASKS_URL = "redis://127.0.0.1:6381/0"
# {% elif cookiecutter.task_queue in ["taskiq-rabbitmq", "celery-rabbitmq"] %}
_TASKS_URL = "amqp://guest:guest@127.0.0.1:5672/"
# {% endif %}
# Up to the last @: some passwords hold one, and some URLs name several hosts. Also where the scheme
# was forgotten, and among the parameters.
_PASSWORD_IN_URL = re.compile(
    r"((?:://|^)[^:/]*:(?!//)).*(?=@)|(?<=[?&])(passw(?:or)?d=)[^&]*", re.IGNORECASE
)
# {% if cookiecutter.example != "none" %}
_DEFAULT_SECRET = "for-development-only"  # noqa: S105  # refused in production
# {% endif %}


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
        extra="ignore",
    )

    environment: Literal["development", "production"] = "development"
    """`production` refuses unsafe settings; `development` reloads code by itself."""

    debug: bool = False
    """Show tracebacks to clients; refused in production."""

    documentation: bool = True
    """Serve the interactive documentation at /docs."""

    # {% if cookiecutter.example != "none" %}
    secret_key: Secret = SecretStr(_DEFAULT_SECRET)
    """Signs the cursors of pages; the same in every process. At least 16 characters."""

    # {% endif %}
    http: HttpSettings = HttpSettings()
    logs: LogSettings = LogSettings()
    profiling: ProfilingSettings = ProfilingSettings()
    # {% if cookiecutter.database_driver == "aiosqlite" %}
    database: SqliteSettings = SqliteSettings(url=_DATABASE_URL)
    # {% elif cookiecutter.database_driver != "none" %}
    database: ServerSettings = ServerSettings(url=_DATABASE_URL, application_name=_SLUG)
    # {% endif %}
    # {% if cookiecutter.cache_backend == "memory" %}
    cache: MemorySettings = MemorySettings()
    sessions: MemorySessionSettings = MemorySessionSettings()
    # {% elif cookiecutter.cache_backend == "redis" %}
    cache: RedisSettings = RedisSettings(url=_CACHE_URL, prefix=_SLUG)
    # {% elif cookiecutter.cache_backend == "tiered" %}
    cache: TieredSettings = TieredSettings(url=_CACHE_URL, prefix=_SLUG)
    # {% endif %}
    # {% if cookiecutter.cache_backend not in ["memory", "none"] %}
    sessions: RedisSessionSettings = RedisSessionSettings(url=_SESSIONS_URL, prefix=_SLUG)
    # {% endif %}
    # {% if cookiecutter.task_queue == "in-process" %}
    tasks: InProcessSettings = InProcessSettings()
    # {% elif cookiecutter.task_queue == "taskiq-redis" %}
    tasks: TaskiqRedisSettings = TaskiqRedisSettings(url=_TASKS_URL, prefix=_SLUG)
    # {% elif cookiecutter.task_queue == "taskiq-rabbitmq" %}
    tasks: TaskiqRabbitmqSettings = TaskiqRabbitmqSettings(url=_TASKS_URL, prefix=_SLUG)
    # {% elif cookiecutter.task_queue == "celery-redis" %}
    tasks: CeleryRedisSettings = CeleryRedisSettings(url=_TASKS_URL, prefix=_SLUG)
    # {% elif cookiecutter.task_queue == "celery-rabbitmq" %}
    tasks: CeleryRabbitmqSettings = CeleryRabbitmqSettings(url=_TASKS_URL, prefix=_SLUG)
    # {% endif %}
    # {% if cookiecutter.monitoring == "prometheus" %}
    monitoring: PrometheusSettings = PrometheusSettings()
    # {% elif cookiecutter.monitoring == "opentelemetry" %}
    monitoring: OpenTelemetrySettings = OpenTelemetrySettings()
    # {% endif %}
    # {% if cookiecutter.error_tracking == "sentry" %}
    sentry: SentrySettings = SentrySettings()
    # {% endif %}

    @property
    def production(self) -> bool:
        return self.environment == "production"

    @property
    def drain_seconds(self) -> float:
        """Seconds that requests are still taken after SIGTERM."""
        if self.http.drain_seconds is not None:
            return self.http.drain_seconds
        return 5.0 if self.production else 0.0

    @model_validator(mode="after")
    def _refuse_what_is_unsafe(self) -> Self:
        if self.production and (unsafe := list(self._unsafe())):
            raise ValueError("; ".join(unsafe))
        return self

    def _unsafe(self) -> Iterator[str]:
        """What production must not have, a sentence for each."""
        if self.debug:
            yield "APP_DEBUG must be false in production"
        # {% if cookiecutter.example != "none" %}
        if self.secret_key.get_secret_value() == _DEFAULT_SECRET:
            yield (
                "APP_SECRET_KEY must be set in production, to what"
                " `python -c 'import secrets; print(secrets.token_urlsafe(32))'` prints"
            )
        # {% endif %}
        # {% if cookiecutter.database_driver not in ["aiosqlite", "none"] %}
        if self.database.url == _DATABASE_URL:
            yield "APP_DATABASE__URL must be set in production, to the database's own"
        # {% endif %}
        # {% if cookiecutter.cache_backend not in ["memory", "none"] %}
        if self.cache.url == _CACHE_URL:
            yield "APP_CACHE__URL must be set in production, to the cache's own"
        if self.sessions.url == _SESSIONS_URL:
            yield "APP_SESSIONS__URL must be set in production, to the sessions' own"
        # {% endif %}
        # {% if cookiecutter.task_queue not in ["in-process", "none"] %}
        if self.tasks.url == _TASKS_URL:
            yield "APP_TASKS__URL must be set in production, to the queue's own"
        # {% endif %}
        # {% if cookiecutter.error_tracking == "sentry" %}
        if self.sentry.dsn is None:
            yield (
                "APP_SENTRY__DSN must be set in production, to what Sentry shows under Client Keys"
            )
        # {% endif %}
        if "*" in self.http.allowed_hosts:
            yield (
                "APP_HTTP__ALLOWED_HOSTS must name the service's hosts in production,"
                """ as in '["api.example.com"]'"""
            )


def load_settings() -> Settings:
    """Read the environment and `.env`.

    Raises:
        StartupError: a setting is malformed, misspelt, or unsafe in production.
    """
    try:
        _refuse_misspelt()
        return Settings()
    except UnicodeDecodeError:
        raise StartupError(".env is not UTF-8; save it as such.") from None
    except ValidationError as error:
        raise StartupError("; ".join(_sentence(detail) for detail in error.errors())) from None
    except SettingsError as error:
        # Its message names the variable, the cause tells what is wrong with its JSON.
        raise StartupError(f"{error}: {error.__cause__}") from None


def _refuse_misspelt() -> None:
    """A variable that is nearly a setting's is taken for one; others may be somebody else's."""
    settings = [_variable(*path) for _, path in _fields(Settings.model_construct())]
    groups = [_variable(name) for name in Settings.model_fields]
    given = {*EnvSettingsSource(Settings).env_vars, *DotEnvSettingsSource(Settings).env_vars}
    for name in sorted(name.upper() for name in given):
        if not name.startswith(PREFIX) or name in {*settings, *groups}:
            continue
        if meant := get_close_matches(name, settings, n=1, cutoff=0.8):
            raise StartupError(f"{name} is not a setting; did you mean {meant[0]}?")


def _sentence(detail: ErrorDetails) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    path = [part for part in detail["loc"] if isinstance(part, str)]  # without places in lists
    return f"{_variable(*path)}: {message}" if path else message


def _variable(*path: str) -> str:
    return PREFIX + "__".join(path).upper()


def describe(settings: BaseModel) -> Iterator[tuple[str, str, str]]:
    """Each setting as its variable, its value (secrets masked) and its description."""
    for room, path in _fields(settings):
        yield _variable(*path), _shown(getattr(room, path[-1])), _description(room, path[-1])


def _fields(settings: BaseModel, *path: str) -> Iterator[tuple[BaseModel, tuple[str, ...]]]:
    """The path to each setting, with the settings that it is one of."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from _fields(value, *path, name)
        else:
            yield settings, (*path, name)


def _description(settings: BaseModel, name: str) -> str:
    found = (_docstrings(each).get(name) for each in type(settings).__mro__)
    return next(filter(None, found), "")


@cache
def _docstrings(settings: type) -> dict[str, str]:
    """What stands below each setting. Pydantic can read that too, but would do so at each start."""
    if settings.__module__.partition(".")[0] != __package__:
        return {}
    (declared,) = ast.parse(inspect.getsource(settings)).body
    assert isinstance(declared, ast.ClassDef)  # noqa: S101
    return {
        ast.unparse(setting.target): inspect.cleandoc(str(ast.literal_eval(text.value)))
        for setting, text in pairwise(declared.body)
        if isinstance(setting, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def example() -> str:
    """The text of `.env.example`: every setting with its default, commented out."""
    blocks = []
    for room, path in _fields(Settings.model_construct()):
        value = getattr(room, path[-1])
        shown = "" if isinstance(value, SecretStr) else _written(value)
        comment = _description(room, path[-1]).replace("\n", "\n# ")
        blocks.append(f"# {comment}\n# {_variable(*path)}={shown}\n")
    return "\n".join(blocks)


def _shown(value: object) -> str:
    """A value as it is written in the environment; passwords, also those in URLs, as stars."""
    if isinstance(value, SecretStr):
        return _MASKED
    if isinstance(value, tuple | list):
        return _written([_shown(each) if isinstance(each, str) else each for each in value])
    return _PASSWORD_IN_URL.sub(r"\1\2***", value) if isinstance(value, str) else _written(value)


def _written(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else to_json(value).decode()
