"""One load for the keys that many ask for at about the same time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar

from app.infra import timing

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Batcher(Generic[Key, Value]):
    """Merges loads by key, across requests.

    A batch is loaded `window_seconds` after its first key was asked for (0: with what is asked for
    in the same turn of the loop), or as soon as it holds `maximum` distinct keys (at least 1). Who
    asks later is in the next batch, so nobody gets what was read before they asked.
    """

    def __init__(
        self,
        load: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]],
        *,
        window_seconds: float,
        maximum: int,
    ) -> None:
        """`load` is given distinct keys; those that it does not find, it leaves out."""
        self._load = load
        self._window_seconds = window_seconds
        self._maximum = maximum
        self._gathering: _Batch[Key, Value] | None = None
        # The loop itself holds tasks weakly.
        self._loads: set[asyncio.Task[Mapping[Key, Value]]] = set()

    async def get(self, key: Key) -> Value | None:
        """The value of `key`, or None when the load did not find it.

        Raises whatever the load raises. A load that nobody waits for any more is cancelled; one
        that is cancelled by others cancels those who wait for it.
        """
        started = time.perf_counter()
        batch = self._gathering = self._gathering or self._gather()
        waiter = batch.join(key)
        try:
            if len(batch.waiters) >= self._maximum:
                self._dispatch(batch)
            return (await waiter).get(key)
        finally:
            batch.leave(key, waiter)
            # Who comes after the last has left opens a window of their own.
            if not batch.waiters and self._gathering is batch:
                self._gathering = None
            timing.add("database", time.perf_counter() - started)

    async def close(self) -> None:
        """Answer those who still wait, and let cancelled loads end. Nobody may ask any more."""
        if self._gathering:
            self._dispatch(self._gathering)
        if self._loads:
            await asyncio.wait(self._loads)

    def _gather(self) -> "_Batch[Key, Value]":
        # Everybody's load is not part of anybody's time; each counts their own wait.
        context = copy_context()
        context.run(timing.parts.set, None)
        batch = _Batch[Key, Value](context)
        loop = asyncio.get_running_loop()
        batch.pending = loop.call_later(self._window_seconds, self._dispatch, batch)
        return batch

    def _dispatch(self, batch: "_Batch[Key, Value]") -> None:
        self._gathering = None
        batch.pending.cancel()
        load = asyncio.create_task(self._run(tuple(batch.waiters)), context=batch.context)
        batch.pending = load
        self._loads.add(load)
        load.add_done_callback(self._loads.discard)
        # Not the task's own doing: one that is cancelled at once never runs.
        load.add_done_callback(batch.settle)

    async def _run(self, keys: Sequence[Key]) -> Mapping[Key, Value]:
        return await self._load(keys)


@dataclass(eq=False)
class _Batch(Generic[Key, Value]):
    """Who waits for which key, and what for: the end of the window, or that of the load."""

    context: Context
    waiters: dict[Key, set[asyncio.Future[Mapping[Key, Value]]]] = field(default_factory=dict)
    pending: asyncio.TimerHandle | asyncio.Task[Mapping[Key, Value]] = field(init=False)

    def join(self, key: Key) -> asyncio.Future[Mapping[Key, Value]]:
        waiter: asyncio.Future[Mapping[Key, Value]] = asyncio.get_running_loop().create_future()
        self.waiters.setdefault(key, set()).add(waiter)
        return waiter

    def leave(self, key: Key, waiter: asyncio.Future[Mapping[Key, Value]]) -> None:
        self.waiters[key].remove(waiter)
        if not self.waiters[key]:
            del self.waiters[key]
        if not self.waiters:
            self.pending.cancel()

    def settle(self, load: asyncio.Task[Mapping[Key, Value]]) -> None:
        # Asked for even when nobody waits, or the loop would log that nobody did.
        error = asyncio.CancelledError() if load.cancelled() else load.exception()
        for waiter in chain.from_iterable(self.waiters.values()):
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(load.result())
            elif isinstance(error, Exception):
                # A future of one's own keeps the load's traceback free of others' frames.
                waiter.set_exception(error)
            else:
                # An interrupt has stopped the loop already, and need not do so once for each.
                waiter.cancel()
