"""What a cache is tested with: a source that answers when it is let, and time that stands."""

import asyncio
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, get_type_hints

import app.infra.cache as room
from app.infra.cache import Cache
from app.infra.cache.cache import Loaded
from app.infra.cache.entries import Entry

PATIENCE_SECONDS = 30
"""Nothing takes as long, however busy the machine is."""

LONG = 600.0
"""A lifetime that no test sees the end of, unless it moves its clock."""


def _found() -> Iterator[tuple[str, tuple[Any, Any]]]:
    for module in iter_modules(room.__path__, f"{room.__name__}."):
        for kind in vars(import_module(module.name)).values():
            if getattr(kind, "__module__", "") == module.name and hasattr(kind, "acquire"):
                hints = get_type_hints(kind.__init__)
                if "settings" in hints:  # which the protocol has not
                    yield kind.name, (kind, hints["settings"])


BACKENDS = dict(sorted(_found()))
"""By name, each backend that this service has, and the class of its settings."""


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Reads its value at once, and answers when it is let."""

    def __init__(self, value: str = "old", *tags: str, **how: Any) -> None:
        self.value = value
        self.tags = tags
        self.how: dict[str, Any] = {"ttl_seconds": LONG, **how}
        self.loads = 0
        self.error: Exception | None = None
        self.reached = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def load(self) -> Loaded:
        self.loads += 1
        value, error = self.value, self.error
        self.reached.set()
        await self.answers.wait()
        if error is not None:
            raise error
        return Loaded(value.encode(), tags=self.tags, **self.how)


async def value(cache: Cache, source: Source, key: str = "{key}", **options: Any) -> str:
    """What `cache` says that `source` holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        entry: Entry = await cache.get("test", key, source.load, **options)
    return entry.payload.decode()


async def filling(
    cache: Cache, source: Source, key: str = "{key}", **options: Any
) -> asyncio.Task[str]:
    """A task that has read the value of `source`, which does not answer yet."""
    source.answers.clear()
    source.reached.clear()
    task = asyncio.create_task(value(cache, source, key, **options))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await source.reached.wait()
    return task


async def joining(cache: Cache, source: Source, key: str = "{key}") -> asyncio.Task[str]:
    """A task that waits for the load in progress."""
    before = cache._flights[key].waiters
    task = asyncio.create_task(value(cache, source, key))
    await until(lambda: cache._flights[key].waiters > before)
    return task


async def until(condition: Callable[[], object]) -> None:
    """Wait for `condition`; what never comes is an error."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  # what a server does sets no event
            await asyncio.sleep(0.002)


async def becomes(cache: Cache, source: Source, expected: str) -> None:
    """Ask until the answer is another one: what others have done is heard of a moment later."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await value(cache, source) != expected:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.002)
