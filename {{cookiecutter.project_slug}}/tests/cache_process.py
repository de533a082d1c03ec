"""A process of a service with a cache, which does what it is told, one line at a time.

    python -m tests.cache_process NAME '{"url": …, "prefix": …}'

It answers each line of JSON with one, and what it loads is a counter or a value in Redis.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from app.infra import logs
from app.infra.cache import Cache
from app.infra.cache.cache import Loaded
from tests.caches import BACKENDS, until


class Worker:
    """The orders that it knows."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        backend_class, settings_class = BACKENDS[name]
        chosen = settings_class(**settings)
        self.backend = backend_class(chosen)
        self.cache = Cache(self.backend, chosen)
        self.source = Redis.from_url(chosen.url)
        self.counter = f"{chosen.prefix}-loads"
        self.values = f"{chosen.prefix}-value"

    async def misses(self, asked: int, seconds: float) -> list[str]:
        """Ask for one key many times at once, of a source that counts and takes `seconds`."""

        async def load() -> Loaded:
            loads = await self.source.incr(self.counter)
            await asyncio.sleep(seconds)
            return Loaded(str(loads).encode(), ttl_seconds=60, tags=["tag"])

        entries = (self.cache.get("test", "{key}", load) for _ in range(asked))
        return sorted({entry.payload.decode() for entry in await asyncio.gather(*entries)})

    async def write(self, trial: str, value: int) -> float:
        """Change what is cached; the moment at which nothing older may be cached any more."""
        await self.source.set(f"{self.values}-{trial}", value, px=60_000)
        await self.cache.forget(tags=[trial])
        return time.monotonic()

    async def read(self, trial: str, wanted: int, seconds: float) -> dict[str, Any]:
        """Ask until there is what is `wanted`, and a little longer.

        Says when that came first, and whether anything older came after.
        """

        async def load() -> Loaded:
            value: bytes = await self.source.get(f"{self.values}-{trial}")  # type: ignore[assignment]
            # Long enough that it is outdated meanwhile.
            await asyncio.sleep(0.002)
            return Loaded(value, ttl_seconds=60, tags=[trial])

        seen, first, backwards = -1, None, 0
        until = time.monotonic() + seconds
        after = 0
        while (first is None and time.monotonic() < until) or after < 20:
            entry = await self.cache.get("test", "{" + str(trial) + "}", load)
            now, value = time.monotonic(), int(entry.payload)
            backwards += value < seen
            seen = max(seen, value)
            if value == wanted and first is None:
                first = now
            after += first is not None
            await asyncio.sleep(0)
        return {"first": first, "backwards": backwards, "kept": len(self.local)}

    @property
    def local(self) -> Any:
        return getattr(self.backend, "_local", ())

    async def ready(self) -> bool:
        """As soon as it hears of changes, if it has to."""
        await until(lambda: getattr(self.backend, "_listens", True))
        return True


async def serve(worker: Worker) -> None:
    await worker.cache.open()
    while line := await asyncio.to_thread(sys.stdin.readline):
        order: dict[str, Any] = json.loads(line)
        run: Callable[..., Any] = getattr(worker, order.pop("do"))
        sys.stdout.write(json.dumps(await run(**order)) + "\n")
        sys.stdout.flush()
    await worker.cache.close()
    await worker.source.aclose()


if __name__ == "__main__":
    # Not to the standard output, where the answers are.
    logs.configure(logs.LogSettings(level="error"))
    asyncio.run(serve(Worker(sys.argv[1], json.loads(sys.argv[2]))))
