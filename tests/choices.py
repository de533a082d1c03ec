"""What can be answered, what of it is baked, and what each answer must leave behind or not.

A new prompt or value joins here: what the tests know of the choices is `MAIN`, `CORNERS`, `TRACES`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from allpairspy import AllPairs

Answers = dict[str, str]

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
TEXTS = [key for key, value in PROMPTS.items() if key[0] != "_" and isinstance(value, str)]
CHOICES: dict[str, list[str]] = {
    key: value for key, value in PROMPTS.items() if key[0] != "_" and isinstance(value, list)
}

# Every combination of these is baked and linted. Prompts that only add files of their own need not
# be here: the pairwise rows meet each of their values.
MAIN = ("database_driver", "cache_backend", "example")

# These get an environment of their own in every run, whatever the pairwise rows are.
CORNERS: dict[str, Answers] = {
    "defaults": {},
    "no-database": {"database_driver": "none"},
    "no-example": {"example": "none"},
    "bare": {
        "database_driver": "none",
        "cache_backend": "none",
        "task_queue": "none",
        "monitoring": "none",
        "example": "none",
    },
    "asyncpg+tiered": {
        "database_driver": "asyncpg",
        "cache_backend": "tiered",
        "task_queue": "taskiq-redis",
    },
    "psycopg+redis": {
        "database_driver": "psycopg",
        "cache_backend": "redis",
        "task_queue": "celery-rabbitmq",
    },
    "asyncmy+no-cache": {
        "database_driver": "asyncmy",
        "cache_backend": "none",
        "task_queue": "taskiq-rabbitmq",
    },
    "celery-redis": {
        "cache_backend": "none",
        "task_queue": "celery-redis",
        "monitoring": "none",
        "error_tracking": "sentry",
    },
    "no-tasks": {"task_queue": "none"},
    "no-monitoring": {"monitoring": "none"},
    "opentelemetry": {"monitoring": "opentelemetry", "example": "none"},
    "opentelemetry+taskiq": {
        "database_driver": "psycopg",
        "cache_backend": "redis",
        "task_queue": "taskiq-redis",
        "monitoring": "opentelemetry",
    },
    "opentelemetry+celery": {
        "database_driver": "asyncpg",
        "cache_backend": "tiered",
        "task_queue": "celery-redis",
        "monitoring": "opentelemetry",
    },
    "sentry": {"error_tracking": "sentry"},
}

# Which tests run in every environment of every run.
BASE = (
    "tests/test_*.py",
    "tests/catalog/test_contract.py",
    "tests/catalog/test_export.py",
    "tests/catalog/test_listing.py",
    "tests/infra/monitoring",
)
# Which are about a prompt: they run in the first environment that has a value of it. Those of the
# default values, and all others, run in `.ci/run`; `--pairwise=full` runs all in each.
ABOUT = {
    "database_driver": ("tests/catalog", "tests/infra/database"),
    "cache_backend": ("tests/catalog", "tests/infra/cache", "tests/infra/sessions"),
    "task_queue": ("tests/catalog/test_import*.py", "tests/infra/tasks"),
    "monitoring": ("tests/infra/http",),
    "error_tracking": ("tests/infra/http",),
}

# Which answers need a server, and where it may be named instead of being looked for at its standard
# port: for the template's tests, and for the project's own.
SERVERS = {
    ("database_driver", "asyncpg"): ("TEST_POSTGRESQL_URL", "TEST_DATABASE_URL"),
    ("database_driver", "psycopg"): ("TEST_POSTGRESQL_URL", "TEST_DATABASE_URL"),
    ("database_driver", "asyncmy"): ("TEST_MYSQL_URL", "TEST_DATABASE_URL"),
    ("cache_backend", "redis"): ("TEST_REDIS_URL", "TEST_REDIS_URL"),
    ("cache_backend", "tiered"): ("TEST_REDIS_URL", "TEST_REDIS_URL"),
    ("task_queue", "taskiq-redis"): ("TEST_REDIS_URL", "TEST_REDIS_URL"),
    ("task_queue", "taskiq-rabbitmq"): ("TEST_RABBITMQ_URL", "TEST_RABBITMQ_URL"),
    ("task_queue", "celery-redis"): ("TEST_REDIS_URL", "TEST_REDIS_URL"),
    ("task_queue", "celery-rabbitmq"): ("TEST_RABBITMQ_URL", "TEST_RABBITMQ_URL"),
}

# Every so many rows of the pairwise set join the corners in every run.
SLICE = 8


@dataclass(frozen=True)
class Trace:
    """Words (regular expressions, any case) that only one of `answers` may leave."""

    answers: frozenset[tuple[str, str]]
    words: tuple[str, ...]

    def allowed(self, answers: Answers) -> bool:
        """Whether the words may stand in a project with `answers`."""
        return not self.answers.isdisjoint(answers.items())


def trace(prompt: str, values: set[str], *words: str) -> Trace:
    return Trace(frozenset((prompt, value) for value in values), words)


_QUEUES = set(CHOICES["task_queue"]) - {"none"}


TRACES = [
    trace("license", {"MIT"}, r"\bMIT\b", "permission is hereby granted"),
    trace("license", {"Apache-2.0"}, "apache"),
    trace("license", {"Proprietary"}, "proprietary", "all rights reserved"),
    trace("database_driver", {"aiosqlite"}, "sqlite", "pragma [a-z_]+ ?[=(]"),
    trace("database_driver", {"asyncpg"}, "asyncpg"),
    trace("database_driver", {"psycopg"}, "psycopg", "libpq"),
    trace("database_driver", {"asyncpg", "psycopg"}, "postgres", r"\bpg_", "pgbouncer"),
    trace("database_driver", {"asyncmy"}, "asyncmy", "mysql", "mariadb"),
    trace("database_driver", {"asyncpg", "psycopg", "asyncmy"}, "replica(?!of|-serve)"),
    trace(
        "database_driver",
        set(CHOICES["database_driver"]) - {"none"},
        "database",
        "sqlalchemy",
        "alembic",
        "migrat",
    ),
    trace("cache_backend", {"redis", "tiered"}, "breaker"),
    Trace(
        frozenset(
            {
                ("cache_backend", "redis"),
                ("cache_backend", "tiered"),
                ("task_queue", "taskiq-redis"),
                ("task_queue", "celery-redis"),
            }
        ),
        ("redis(?!trib)",),
    ),
    trace("cache_backend", {"tiered"}, "tiered"),
    trace(
        "cache_backend",
        {"memory", "redis", "tiered"},
        r"infra[./]cache",
        r"infra[./]sessions",
        "APP_CACHE",
        "APP_SESSIONS",
        "recently",
        r"\bcached\b",
        "warmed",
        "single.flight",
    ),
    trace("task_queue", {"taskiq-redis", "taskiq-rabbitmq"}, "taskiq"),
    trace("task_queue", {"celery-redis", "celery-rabbitmq"}, "celery"),
    trace("task_queue", {"taskiq-rabbitmq", "celery-rabbitmq"}, "rabbit", "amqp", "aio.pika"),
    trace("task_queue", _QUEUES - {"in-process"}, r"app[./]worker\b", "with.worker", "broker"),
    trace("task_queue", _QUEUES, r"infra[./]tasks", "APP_TASKS", "background work", "/tasks"),
    Trace(frozenset(SERVERS), ("require.services",)),
    Trace(
        frozenset({*SERVERS, ("monitoring", "prometheus"), ("monitoring", "opentelemetry")}),
        ("docker", "compose"),
    ),
    trace(
        "monitoring", {"prometheus"}, "prometheus", "(?<!/v1)/metrics", r"\bscrap(e|ed|es|ing)\b"
    ),
    trace("monitoring", {"prometheus"}, "dashboard", "promtool"),
    trace("monitoring", {"prometheus", "opentelemetry"}, "grafana"),
    trace("monitoring", {"opentelemetry"}, "opentelemetry", r"\botlp", r"\botel"),
    trace(
        "monitoring",
        set(CHOICES["monitoring"]) - {"none"},
        "APP_MONITORING",
        "psutil",
        # FastAPI calls a switch so, which is off.
        r"\bmetrics?\b(?!\": False)",
    ),
    trace("error_tracking", {"sentry"}, "sentry"),
    trace(
        "example",
        {"catalog"},
        "catalog",
        "product(?!ion| names)",
        "review",
        "price",
        "(?<!con)currenc",
    ),
]


def servers(answers: Answers) -> list[tuple[str, str]]:
    """Where each server that these answers need may be named; see `SERVERS`."""
    return [where for (prompt, value), where in SERVERS.items() if answers[prompt] == value]


def complete(answers: Answers) -> Answers:
    """The answers to every choice prompt: what is not answered takes its first value."""
    return {key: answers.get(key, values[0]) for key, values in CHOICES.items()}


def name(answers: Answers) -> str:
    """Tells the answers apart in the log."""
    return "+".join(complete(answers).values())


def combinations() -> list[Answers]:
    """Every combination of the main prompts, and every two values of two prompts at least once."""
    values = product(*(CHOICES[prompt] for prompt in MAIN))
    rows = [complete(dict(zip(MAIN, row, strict=True))) for row in values]
    rows += [row for row in pairwise() if row not in rows]
    return rows + [row for row in map(complete, CORNERS.values()) if row not in rows]


def pairwise() -> list[Answers]:
    """Rows in which every two values of two prompts meet at least once; the same ones each time."""
    rows = AllPairs(list(CHOICES.values()), filter_func=_is_offered)
    return [dict(zip(CHOICES, row, strict=True)) for row in rows]


def _is_offered(row: list[str]) -> bool:
    """Whether the answers so far go together; the hook refuses those that do not."""
    answers = dict(zip(CHOICES, row, strict=False))
    has_queue = answers.get("task_queue", "none") not in {"in-process", "none"}
    return not (has_queue and answers["database_driver"] == "none")


def environments(extent: str) -> Iterator[tuple[str, Answers]]:
    """The corners, and of the pairwise rows every one (`full`) or a slice."""
    seen = set()
    rows = pairwise()[:: 1 if extent == "full" else SLICE]
    for label, answers in [*CORNERS.items(), *(("pairwise", row) for row in rows)]:
        if name(answers) not in seen:
            seen.add(name(answers))
            yield f"{label}:{name(answers)}", complete(answers)


def about(answers: Answers) -> set[str]:
    """The tests that are about a value that no environment before this one has."""
    found: set[str] = set()
    seen = set(complete({}).items())
    for _, others in environments("slice"):
        new = set(others.items()) - seen
        seen |= new
        if others == complete(answers):
            found.update(*(ABOUT.get(prompt, ()) for prompt, _ in new))
    return found


def each(rows: list[Answers]) -> pytest.MarkDecorator:
    """Run a test once for each row; what has the same answers shares a worker, thus a bake."""
    return pytest.mark.parametrize("answers", [row_of(answers) for answers in rows])


def row_of(answers: Answers) -> object:
    group = name(answers)
    return pytest.param(complete(answers), id=group, marks=pytest.mark.xdist_group(group))


def corner(*labels: str) -> pytest.MarkDecorator:
    """Run a test once for each of these corners."""
    return each([CORNERS[label] for label in labels])
