"""What the hot paths cost, in numbers that do not depend on the machine's mood.

The dependencies have exact versions, those of `budgets/requirements.txt`: a generated project may
have others, and must not fail by their ageing.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from choices import Answers, complete
from conftest import Bake
from project import complaints, run, uv
from services import require_or_skip

from benchmarks.databases import database
from benchmarks.subjects import PRODUCTION, take_out_policy

pytestmark = [pytest.mark.environment, pytest.mark.xdist_group("budgets")]

BUDGETS = Path(__file__).parent / "budgets"
WRITTEN = BUDGETS / "budgets.json"
PYTHON = "{}.{}".format(*sys.version_info)
TOLERANCES = {"calls": 0.05, "bytes": 0.05, "statements": 0}
PRODUCTS = "100"

TRIVIAL = "GET:/health/live"
STORED = {
    "read by id": "GET:/v1/products/7",
    "page of 20": "GET:/v1/products?limit=20",
    "insert": "POST:/v1/products",
}
HIT = "GET:/v1/products/7"
SERVICES: dict[str, tuple[Answers, dict[str, str]]] = {
    "asyncpg": (
        {"database_driver": "asyncpg", "cache_backend": "none"},
        {"trivial": TRIVIAL, **STORED},
    ),
    "aiosqlite": ({"cache_backend": "none"}, STORED),
    "responses": ({}, {"response-cache hit": HIT}),
    "functions": ({}, {"cached function hit": HIT}),
    "unwatched": (
        {"database_driver": "asyncpg", "cache_backend": "none", "monitoring": "none"},
        {"trivial": TRIVIAL},
    ),
}
Costs = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with those versions."""
    environment = tmp_path_factory.mktemp("budgets") / ".venv"
    quiet: list[str | Path] = [uv(), "--quiet"]
    pinned = BUDGETS / "requirements.txt"
    for command in (
        [*quiet, "venv", "--python", sys.executable, environment],
        [*quiet, "pip", "install", "--python", environment, "-r", pinned],
    ):
        assert not (said := complaints(command, environment.parent)), said
    return environment / "bin" / "python"


@pytest.fixture
def urls(pytestconfig: pytest.Config, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """The URL of a new database for a driver."""
    with ExitStack() as stack:

        def new(driver: str) -> str:
            if driver == "aiosqlite":
                return f"sqlite+aiosqlite:///{tmp_path}/budget.db"
            try:
                return stack.enter_context(database(driver))
            except OSError as error:
                require_or_skip(pytestconfig, f"No PostgreSQL answers ({error}); start one.")

        yield new


@pytest.fixture
def count(
    bake: Bake, python: Path, urls: Callable[[str], str], tmp_path: Path
) -> Callable[[str], Costs]:
    """What the requests of a service cost."""

    def count(name: str) -> Costs:
        answers, scenarios = SERVICES[name]
        answers = complete(answers)
        project = tmp_path / name
        shutil.copytree(bake(answers), project)
        if name == "functions":
            take_out_policy(project)
        settings = {**PRODUCTION, "APP_DATABASE__URL": urls(answers["database_driver"])}
        for command in (["migrate"], ["seed", "--products", PRODUCTS]):
            said = complaints([python, "-m", "app", *command], project, settings)
            assert not said, said
        asked = [f"{scenario}={request}" for scenario, request in scenarios.items()]
        ended = run([python, BUDGETS / "count.py", *asked], project, settings)
        assert ended.returncode == 0, ended.stdout
        costs: Costs = json.loads(ended.stdout.splitlines()[-1])
        return costs

    return count


def compare(found: Costs, config: pytest.Config) -> None:
    """Within five of a hundred of what was written, to either side; statements exactly."""
    written: dict[str, Costs] = json.loads(WRITTEN.read_text())
    budgets = written.setdefault(PYTHON, {})
    if config.getoption("write_budgets"):
        WRITTEN.write_text(
            json.dumps({**written, PYTHON: budgets | found}, indent=2, sort_keys=True) + "\n"
        )
        return
    if not budgets:
        pytest.skip(f"Nobody has budgeted for Python {PYTHON} yet: --write-budgets does.")
    off = [
        f"{scenario}: {cost} {what}, {budgets[scenario][what]} were written"
        for scenario, costs in found.items()
        for what, cost in costs.items()
        if abs(cost - budgets[scenario][what]) > TOLERANCES[what] * budgets[scenario][what]
    ]
    assert not off, "\n".join([*off, "Find out why, or write what it costs with --write-budgets."])


@pytest.mark.parametrize("name", ["asyncpg", "aiosqlite", "responses", "functions"])
def test_requests(name: str, count: Callable[[str], Costs], pytestconfig: pytest.Config) -> None:
    """Calls, statements and bytes of each hot path."""
    found = count(name)
    compare({f"{scenario} ({name})": cost for scenario, cost in found.items()}, pytestconfig)


def test_metrics(count: Callable[[str], Costs], pytestconfig: pytest.Config) -> None:
    """What it takes to have the figures of a request, beside the same service without them."""
    watched, unwatched = (count(name)["trivial"]["calls"] for name in ("asyncpg", "unwatched"))
    compare({"metrics": {"calls": watched - unwatched}}, pytestconfig)
