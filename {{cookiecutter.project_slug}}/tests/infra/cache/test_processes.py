"""Several processes that share a cache, as in production."""

import asyncio
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.caches import BACKENDS, PATIENCE_SECONDS, until
from tests.processes import ROOT, environment
from tests.redis_servers import ask

# More of them show more, and take longer.
TRIALS = int(os.environ.get("TRIALS", "100"))

pytestmark = pytest.mark.slow


class Process:
    """A process that does what it is told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, what: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            return json.loads(await self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()

    async def close(self) -> None:
        """Let it close its cache, and see that it can."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                # With nothing to say: Python 3.11 would not close its input otherwise.
                await self._process.communicate(b"")
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise


@pytest.fixture
async def start(where: dict[str, Any]) -> AsyncIterator[Callable[..., Any]]:
    """Starts processes with a cache of the backend that is named."""
    async with AsyncExitStack() as stack:

        async def start(name: str, count: int, **settings: Any) -> list[Process]:
            processes = []
            for _ in range(count):
                process = Process(
                    await asyncio.create_subprocess_exec(
                        sys.executable,
                        *("-m", "tests.cache_process", name, json.dumps({**where, **settings})),
                        cwd=ROOT,
                        env=environment(),
                        stdin=asyncio.subprocess.PIPE,
                        stdout=asyncio.subprocess.PIPE,
                    )
                )
                stack.push_async_callback(process.close)
                processes.append(process)
            await asyncio.gather(*(process.do("ready") for process in processes))
            return processes

        yield start


@pytest.fixture(params=[name for name in BACKENDS if name != "memory"])
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def loads(where: dict[str, str]) -> int:
    return int(ask(where["url"], "GETDEL", f"{where['prefix']}-loads") or 0)


class TestOneLoad:
    async def test_of_1000_misses(
        self, start: Callable[..., Any], name: str, where: dict[str, str]
    ) -> None:
        """A thousand ask at the same time, in four processes: one load."""
        processes = await start(name, 4)
        asking = (process.do("misses", asked=250, seconds=0.2) for process in processes)
        assert await asyncio.gather(*asking) == [["1"]] * 4
        assert loads(where) == 1

    async def test_slower_than_the_lease(
        self, start: Callable[..., Any], name: str, where: dict[str, str]
    ) -> None:
        """The lease is renewed, so that nobody else loads meanwhile."""
        processes = await start(name, 2, lease_seconds=1)
        asking = (process.do("misses", asked=10, seconds=3) for process in processes)
        assert await asyncio.gather(*asking) == [["1"]] * 2
        assert loads(where) == 1

    async def test_killed(
        self, start: Callable[..., Any], name: str, where: dict[str, str]
    ) -> None:
        """What a killed process was loading is loaded by another, once its lease has ended."""
        first, second = await start(name, 2, lease_seconds=1)
        dying = asyncio.create_task(first.do("misses", asked=10, seconds=60))
        await until(lambda: ask(where["url"], "EXISTS", f"{where['prefix']}-loads"))
        first.kill()
        with pytest.raises(json.JSONDecodeError):
            await dying
        assert await second.do("misses", asked=10, seconds=0) == ["2"]
        assert loads(where) == 2


class TestCoherence:
    async def test_trials(
        self,
        start: Callable[..., Any],
        name: str,
        record_property: Callable[[str, object], None],
    ) -> None:
        """Who has once seen the new never sees the old again; how soon that is, is told."""
        writer, *readers = await start(name, 4)
        delays = []
        for trial in range(TRIALS):
            tag = f"trial-{trial}"
            await writer.do("write", trial=tag, value=0)
            reading = [
                asyncio.create_task(reader.do("read", trial=tag, wanted=1, seconds=20))
                for reader in readers
            ]
            # At a different moment each time: before, while and after something is loaded.
            await asyncio.sleep(0.001 * (trial % 12))
            written = await writer.do("write", trial=tag, value=1)
            for outcome in await asyncio.gather(*reading):
                assert outcome["backwards"] == 0
                assert outcome["first"] is not None
                delays.append(max(0.0, outcome["first"] - written) * 1e3)
        told = {
            "median_ms": round(statistics.median(delays), 2),
            "p99_ms": round(statistics.quantiles(delays, n=100)[98], 2),
            "max_ms": round(max(delays), 2),
        }
        for figure, milliseconds in told.items():
            record_property(figure, milliseconds)
        print(f"{name}: {TRIALS} trials, {told}")  # noqa: T201 - a figure, for who asks for it.
