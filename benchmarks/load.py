"""Load, made by wrk."""

import itertools
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

from benchmarks.servers import ON_LOAD_CORE

PRODUCTS = 1_000
CONNECTIONS = 32
# No two runs may add the same product: some share a database.
_seeds = itertools.count(1)

# `{id}` is one of the products, and `{new}` never the same.
_SCRIPT = """
local method, path, body, seed = %(method)s, %(path)s, %(body)s, %(seed)d
local number = 0
wrk.headers["Content-Type"] = body and "application/json" or nil
math.randomseed(seed)

local function filled(text)
    number = number + 1
    text = text:gsub("{id}", function() return math.random(%(products)d) end)
    return (text:gsub("{new}", seed .. "-" .. number))
end

request = function()
    return wrk.format(method, filled(path), nil, body and filled(body))
end

done = function(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '\\n{"requests": %%d, "seconds": %%f, "refused": %%d, "broken": %%d, "late": %%d, '
        .. '"p50_ms": %%f, "p99_ms": %%f}\\n',
        summary.requests, summary.duration / 1e6, errors.status,
        errors.connect + errors.read + errors.write, errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True)
class Scenario:
    """One kind of request."""

    path: str
    """`{id}` stands for one of the products, at random."""
    method: str = "GET"
    body: str | None = None
    """JSON; `{new}` stands for something that no other request has."""
    connections: int = CONNECTIONS
    """That stay open, each with one request at a time."""


@dataclass(frozen=True)
class Load:
    """What came of a run of wrk."""

    requests: int
    seconds: float
    refused: int
    """Answers of 400 and above."""
    broken: int
    """Connections that failed."""
    late: int
    """Answers that took more than two seconds."""
    p50_ms: float
    p99_ms: float

    @property
    def failures(self) -> int:
        return self.refused + self.broken + self.late


def require_wrk() -> None:
    """Exit with the package to install when wrk is missing."""
    if shutil.which("wrk") is None:
        raise SystemExit(
            "wrk is missing: install the package wrk (apt install wrk, brew install wrk)."
        )


def drive(
    port: int,
    scenario: Scenario,
    *,
    seconds: int,
) -> Load:
    """Send `scenario` over connections that stay open, as fast as answers come."""
    told = {
        "method": json.dumps(scenario.method),
        "path": json.dumps(scenario.path),
        "body": "nil" if scenario.body is None else json.dumps(scenario.body),
        "seed": next(_seeds),
        "products": PRODUCTS,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT % told)
        script.flush()
        command = [*ON_LOAD_CORE, "wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s"]
        ended = subprocess.run(
            [*command, "-s", script.name, f"http://127.0.0.1:{port}"],
            check=True,
            capture_output=True,
            text=True,
        )
    return Load(**json.loads(ended.stdout.strip().splitlines()[-1]))
