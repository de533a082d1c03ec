"""The comparison: every subject is started in turn, again and again, and asked its scenarios."""

import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.databases import database
from benchmarks.load import Load, Scenario, drive
from benchmarks.peers import fastapi_template
from benchmarks.servers import Server
from benchmarks.subjects import (
    CROWD,
    HIT,
    INSERT,
    PAGE,
    READ,
    TRIVIAL,
    Subject,
    bake,
    fill,
    reference,
    service,
    take_out_policy,
)

BASE = "bare FastAPI"
RAW = "raw ASGI"
SERVICE = "the service"
DRIVERS = ("asyncpg", "psycopg", "asyncmy", "aiosqlite")
CACHES = ("memory", "tiered")
_REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379")
_REDIS = {"APP_CACHE__URL": _REDIS_URL, "APP_SESSIONS__URL": _REDIS_URL}


@dataclass(frozen=True)
class Measure:
    """One run of one scenario."""

    load: Load
    cpu_us: float
    """CPU time of the server for each request, in microseconds."""


GOALS = {
    "the service, asyncpg: trivial": 0.70,
    "the service, asyncpg: read by id": 0.22,
    "the service, asyncpg: page of 20": 0.15,
    "the service, asyncpg: insert": 0.18,
    "the service, aiosqlite: read by id": 0.12,
    "the service, memory, responses: response-cache hit": 2.0,
    "the service, memory, functions: cached function hit": 0.65,
    "the service, tiered, functions: cached function hit": 0.65,
}
"""What the CPU time of bare FastAPI's trivial route has to be of each, at least."""

Measures = dict[tuple[str, str], list[Measure]]
"""By the name of the subject and of the scenario."""


def measure(
    subjects: Sequence[Subject], *, rounds: int, seconds: int, warm_seconds: int
) -> Measures:
    """Start, warm, ask and stop each of `subjects`, in turns."""
    found: Measures = defaultdict(list)
    for number in range(rounds):
        for subject in subjects:
            with subject.served() as server:
                for name, scenario in subject.scenarios.items():
                    drive(server.port, scenario, seconds=warm_seconds)
                    what = f"{subject.name}, {name}"
                    measured = ask(server, scenario, seconds=seconds, what=what)
                    found[subject.name, name].append(measured)
                    print(f"{number + 1}: {what}: {measured.cpu_us:.1f}", file=sys.stderr)
    return found


def ask(server: Server, scenario: Scenario, *, seconds: int, what: str) -> Measure:
    """Drive `server` once; `what` says in an error which one it was."""
    before = server.cpu_seconds()
    load = drive(server.port, scenario, seconds=seconds)
    spent = server.cpu_seconds() - before
    if load.failures or not load.requests:
        raise SystemExit(f"{what} failed: {load}")
    return Measure(load, spent / load.requests * 1e6)


@contextmanager
def subjects(
    scratch: Path, *, drivers: Sequence[str] = DRIVERS, peers: bool = False
) -> Iterator[list[Subject]]:
    """The service with each driver and cache, its references on the same data, and its peers."""
    stored = {"read by id": READ, "page of 20": PAGE, "insert": INSERT}
    with ExitStack() as stack:
        # First: what may be missing is told before minutes are spent.
        others = [stack.enter_context(fastapi_template(scratch))] if peers else []
        urls = {
            driver: stack.enter_context(database(driver))
            for driver in drivers
            if driver != "aiosqlite"
        }
        chosen = [
            reference(RAW, "raw", {"trivial": TRIVIAL}, url="", scratch=scratch),
            reference(BASE, "bare", {"trivial": TRIVIAL}, url="", scratch=scratch),
        ]
        for driver in drivers:
            project = bake(scratch, database_driver=driver, cache_backend="none")
            url = urls.get(driver, f"sqlite+aiosqlite:///{project}/benchmark.db")
            scenarios = stored
            if driver == "asyncpg":
                crowd = f"read by id, {CROWD.connections} connections"
                scenarios = {"trivial": TRIVIAL, **stored, crowd: CROWD}
            subject = service(f"{SERVICE}, {driver}", project, scenarios, url=url)
            with subject.served() as server:
                fill(server)
            chosen.append(subject)
        if "asyncpg" in urls:
            for name, module in (("ORM", "orm"), ("asyncpg", "direct")):
                chosen.append(
                    reference(
                        f"bare FastAPI, {name}",
                        module,
                        stored,
                        url=urls["asyncpg"],
                        scratch=scratch,
                    )
                )
        for cache in CACHES:
            chosen += _cached(scratch, cache)
        yield chosen + others


def _cached(scratch: Path, cache: str) -> list[Subject]:
    """The service with a cache: of responses, as it comes, and of functions alone."""
    found = []
    for what, policies in (("responses", True), ("functions", False)):
        project = bake(scratch / what, database_driver="aiosqlite", cache_backend=cache)
        if not policies:
            take_out_policy(project)
        url = f"sqlite+aiosqlite:///{project}/benchmark.db"
        name = "response-cache hit" if policies else "cached function hit"
        subject = service(
            f"{SERVICE}, {cache}, {what}",
            project,
            {name: HIT},
            url=url,
            **(_REDIS if cache == "tiered" else {}),
        )
        with subject.served() as server:
            fill(server)
        found.append(subject)
    return found
