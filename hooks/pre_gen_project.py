"""Refuse, in one sentence, the answers that cannot become a service.

The answers arrive as JSON, because a quotation mark in one of them would end a Python string. This
file is valid Python before cookiecutter renders it as well, so that the tests can import it.
"""

import json
import re
import sys
import unicodedata
from collections.abc import Iterator

TEXT_PROMPTS = ("project_name", "description", "author_name")

# The slug names the folder and the package, and whoever deploys it names containers and hosts after
# it: 50 leave room for a suffix in the 63 characters of a DNS label (RFC 1123).
SLUG_MAXIMUM = 50

# Windows opens a device instead of a folder with one of these names.
PORTS = {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
DEVICES = {"con", "prn", "aux", "nul", *PORTS}

# A project hides the package that has its name: uv then finds no solution, or one in which that
# package is silently missing. So it is with the dependencies of dependencies; a test compares this
# list with the lock files.
DEPENDENCIES = {
    "aio-pika", "aiohappyeyeballs", "aiohttp", "aiormq", "aiosignal", "aiosqlite", "alembic",
    "amqp", "annotated-doc", "annotated-types", "anyio", "ast-serialize", "async-timeout",
    "asyncmy", "asyncpg", "attrs", "bidict", "billiard", "blinker", "blockbuster", "brotli",
    "celery", "certifi", "cffi", "charset-normalizer", "click", "click-didyoumean", "click-plugins",
    "click-repl", "colorama", "configargparse", "coverage", "deptry", "execnet", "fastapi", "flask",
    "flask-cors", "flask-login", "forbiddenfruit", "frozenlist", "gevent", "geventhttpclient",
    "greenlet", "grimp", "h11", "hiredis", "httpcore2", "httptools", "httpx2", "httpx2-jsfetch",
    "hypothesis", "idna", "import-linter", "iniconfig", "itsdangerous", "jinja2", "kombu", "librt",
    "locust", "mako", "markdown-it-py", "markupsafe", "mdurl", "msgpack", "msgspec", "multidict",
    "mypy", "mypy-extensions", "opentelemetry-api", "opentelemetry-exporter-otlp-proto-common",
    "opentelemetry-proto", "opentelemetry-sdk", "opentelemetry-semantic-conventions", "packaging",
    "pamqp", "pathspec", "pluggy", "prometheus-client", "prompt-toolkit", "propcache", "protobuf",
    "psutil", "psycopg", "psycopg-binary", "pycparser", "pycron", "pydantic", "pydantic-core",
    "pydantic-settings", "pygments", "pyinstrument", "pytest", "pytest-cov", "pytest-xdist",
    "python-dateutil", "python-dotenv", "python-engineio", "python-socketio", "pywin32", "pyzmq",
    "redis", "requests", "requirements-parser", "rich", "ruff", "sentry-sdk", "simple-websocket",
    "six", "sortedcontainers", "sqlalchemy", "starlette", "structlog", "taskiq", "taskiq-aio-pika",
    "taskiq-dependencies", "taskiq-redis", "tomli", "truststore", "types-psutil",
    "typing-extensions", "typing-inspection", "tzdata", "tzlocal", "urllib3", "uvicorn", "uvloop",
    "vine", "watchfiles", "wcwidth", "websocket-client", "werkzeug", "wsproto", "yarl",
    "zope-event", "zope-interface",
}  # fmt: skip

# Cookiecutter evaluates the first in answers given on the command line, and the template's own
# delimiters contain the others. Written in halves, for this file is rendered as well.
JINJA = ("{" + "{", "{" + "%", "{" + "#")


def refusals(answers: dict[str, str]) -> Iterator[str]:
    """One sentence, which names the remedy, for each thing that is wrong."""
    for prompt in TEXT_PROMPTS:
        text = answers[prompt]
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
            yield (
                f"{prompt} contains a control character,"
                " like a line break or a tab: write it in one plain line."
            )
        elif prompt == "project_name" and not text.strip():
            yield "project_name is blank: call the service something."
        for opening in JINJA:
            if opening in text:
                yield (
                    f"{prompt} contains {opening}, which opens an expression of the template:"
                    " put a space between the two characters."
                )

    yield from slug_refusals(answers["project_slug"])

    queue = answers["task_queue"]
    if answers["database_driver"] == "none" and queue not in {"in-process", "none"}:
        yield (
            f"task_queue {queue} needs a database, for a worker cannot see the memory of the"
            " service: choose a database_driver, or task_queue in-process."
        )


def slug_refusals(slug: str) -> Iterator[str]:
    """What is wrong with the name of the folder and the package."""
    # PEP 503: runs of hyphens do not distinguish two packages.
    package = re.sub("-+", "-", slug)
    if not re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", slug):
        yield (
            f"project_slug {slug!a} is not made of lower-case letters, digits and inner hyphens:"
            " choose one like my-service."
        )
    elif len(slug) > SLUG_MAXIMUM:
        yield (
            f"project_slug has {len(slug)} characters:"
            f" choose a shorter one, of at most {SLUG_MAXIMUM}."
        )
    elif slug in DEVICES:
        yield (
            f"project_slug {slug!a} is the name of a device on Windows:"
            f" choose another one, like {slug}-service."
        )
    elif package in DEPENDENCIES:
        yield (
            f"project_slug {slug!a} would hide the package of that name, which the service needs:"
            f" choose another one, like {slug}-service."
        )


def main() -> None:
    answers = dict(json.loads(r"""{{ cookiecutter.items() | list | tojson }}"""))
    for sentence in refusals(answers):
        sys.exit(sentence)


if __name__ == "__main__":
    main()
