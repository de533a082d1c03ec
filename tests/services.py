"""Databases in servers that are there already, made by a project's own test support."""

import os
from collections.abc import Callable, Iterator

import pytest
from choices import Answers, servers
from project import Installed, run

Database = Callable[[Installed, Answers], dict[str, str]]

FIND = """\
from tests.{support} import find
from app.settings import Settings

server = find(Settings.model_fields["database"].default.url)
"""
SUPPORT = {"asyncpg": "postgresql", "psycopg": "postgresql", "asyncmy": "mysql"}


def variables(answers: Answers) -> dict[str, str]:
    """Where the project's tests look for their servers, if they are named."""
    return {
        theirs: os.environ[ours] for ours, theirs in servers(answers) if os.environ.get(ours)
    }


@pytest.fixture
def database(pytestconfig: pytest.Config) -> Iterator[Database]:
    """Settings of a new database, for a driver that needs one; it is dropped after the test."""
    made: list[Callable[[], object]] = []

    def make(project: Installed, answers: Answers) -> dict[str, str]:
        driver = answers["database_driver"]
        if driver not in SUPPORT:
            return {}

        def ask(statement: str) -> str:
            program = FIND.format(support=SUPPORT[driver]) + statement
            ended = run([project.python, "-c", program], project.path, variables(answers))
            said = ended.stdout.strip().splitlines()[-1:]
            if ended.returncode:
                reason = "".join(said).partition("ServerMissing: ")[2] or ended.stdout
                require_or_skip(pytestconfig, reason)
            return "".join(said)

        url = ask("print(server.create())")
        made.append(lambda: ask(f"server.drop({url!r})"))
        return {"APP_DATABASE__URL": url}

    yield make
    for drop in made:
        drop()


def require_or_skip(config: pytest.Config, reason: str) -> None:
    """Skip what has no server, but not where all servers have to be there."""
    if config.getoption("require_services"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def required(config: pytest.Config, answers: Answers) -> list[str]:
    """The option that makes the project's own tests insist on their server."""
    insist = servers(answers) and config.getoption("require_services")
    return ["--require-services"] if insist else []
