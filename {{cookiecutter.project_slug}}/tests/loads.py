"""What a batcher is tested with: stores that answer when they are let, and time that stands."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from app.infra.database.batcher import Batcher

NEVER = 3600
"""Seconds of a window that no test sees the end of."""

TURNS = 100
"""Turns of the loop in which everything here is done: nothing takes time."""

T = TypeVar("T")


class Store:
    """Answers at once, and remembers what it was asked for."""

    def __init__(self, **rows: str) -> None:
        self.rows = rows
        self.asked: list[tuple[str, ...]] = []

    async def load(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(tuple(keys))
        return {key: self.rows[key] for key in keys if key in self.rows}


class SlowStore(Store):
    """Reads at once, answers when it is let, and takes its time to end when it is cancelled."""

    def __init__(self, **rows: str) -> None:
        super().__init__(**rows)
        self.reached = asyncio.Event()
        self.answer = asyncio.Event()

    async def load(self, keys: Sequence[str]) -> Mapping[str, str]:
        found = await super().load(keys)
        self.reached.set()
        try:
            await self.answer.wait()
        except asyncio.CancelledError:
            for _ in range(TURNS // 4):
                await asyncio.sleep(0)
            raise
        return found


class FailingStore(SlowStore):
    """Fails, when it is let, for as long as it has an error."""

    def __init__(self, **rows: str) -> None:
        super().__init__(**rows)
        self.error: BaseException | None = ConnectionError("gone")

    async def load(self, keys: Sequence[str]) -> Mapping[str, str]:
        found = await super().load(keys)
        if self.error:
            raise self.error
        return found


class Windows:
    """Stands in for the timers of the loop: a window ends when the test says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds: list[float] = []
        self._loop = loop
        self._timers: list[tuple[asyncio.TimerHandle, Callable[[], object]]] = []

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> Any:
        self.seconds.append(seconds)
        timer = self._loop.call_at(self._loop.time() + NEVER, callback, *args)
        self._timers.append((timer, lambda: callback(*args)))
        return timer

    def end(self) -> None:
        """End those that nobody has cancelled."""
        for timer, callback in self._timers:
            if not timer.cancelled():
                callback()
            timer.cancel()


async def asking(batcher: Batcher[str, str], *keys: str) -> list[asyncio.Task[str | None]]:
    """A task for each of `keys`, each of which has asked and waits."""
    tasks = [asyncio.create_task(batcher.get(key)) for key in keys]
    # A task asks in its first step, and each of these has it before this one goes on.
    await asyncio.sleep(0)
    return tasks


async def soon(awaited: Awaitable[T]) -> T:
    """What never comes is an error, instead of a test that never ends."""
    future = asyncio.ensure_future(awaited)
    for _ in range(TURNS):
        if future.done():
            break
        await asyncio.sleep(0)
    return future.result()


async def outcomes(tasks: Sequence[asyncio.Task[T]]) -> list[T | BaseException]:
    return await soon(asyncio.gather(*tasks, return_exceptions=True))
