"""Reading through a cache: one load for everybody who asks, and nothing that is outdated."""

import asyncio
import random
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Sequence,
)
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakSet

from msgspec.structs import replace

from app.errors import ServiceError, TimedOut, Unavailable
from app.infra import timing
from app.infra.cache.backend import Backend, CacheUnavailable, Lease, Usage
from app.infra.cache.entries import Entry, pack, unpack
from app.infra.cache.figures import Figures, Ledger
from app.infra.cache.flights import Flight, Flights
from app.infra.cache.settings import CacheSettings
from app.infra.monitoring import Histogram

Result = TypeVar("Result")

LOOKUP = Histogram("cache_lookup_duration_seconds", "Looking whether something is kept", ["cache"])
LOAD = Histogram("cache_load_duration_seconds", "Loading what was not", ["cache"])

counted: ContextVar[bool] = ContextVar("counted", default=True)
"""Whether what is asked for counts as a hit or a miss; warming asks for nobody."""

# Who shared a load that was outdated before it ended repeats it as often, then loads alone.
_SHARED_ATTEMPTS = 2
# At most as many entries are made anew ahead at once: hits do not wait for connections behind them.
_REFRESHES = 4
# Between two looks at a lock, growing from the first to the last.
_PAUSES_SECONDS = (0.005, 0.1)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load brings."""

    payload: bytes
    ttl_seconds: float
    """How long it is fresh; 0 for not to be kept at all."""
    stale_seconds: float = 0
    """How much longer it is better than one of the errors that may be hidden."""
    tags: Collection[str] = ()

    def __post_init__(self) -> None:
        _refuse_text(self.tags)


def _refuse_text(tags: Collection[str]) -> None:
    """Text is a collection too, of characters."""
    if isinstance(tags, str):
        raise TypeError(f"{tags!r} is one tag; write a list of them.")


Load = Callable[[], Awaitable[Loaded]]


class Cache:
    """Entries by key, over any backend. Without its backend it loads what it is asked for."""

    name = "cache"

    def __init__(
        self,
        backend: Backend,
        settings: CacheSettings,
        *,
        loading: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`loading` surrounds every load; `clock` tells the seconds since 1970."""
        self.backend = backend
        self.settings = settings
        self.figures = Ledger()
        self.clock = clock
        self._loading = loading
        self._flights = Flights()
        self._refreshes: set[asyncio.Task[object]] = set()
        # The event loop itself holds tasks weakly.
        self._tasks: set[asyncio.Task[object]] = set()
        self._loads: WeakSet[asyncio.Task[object]] = WeakSet()

    async def open(self) -> None:
        """Begin to connect; the service starts whether or not the backend answers."""
        self.backend.share(self.figures)
        await self.backend.open()

    async def close(self) -> None:
        """Give up what is being loaded, end what outdates, and let go of every connection."""
        for task in self._loads:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.backend.close()

    def key(self, family: str, digest: str) -> str:
        """A key of this release's; the braces let a cluster keep its lock in the same slot."""
        return "{" + f"{self.settings.version}:{family}:{digest}" + "}"

    async def usage(self) -> Usage:
        """How much is kept; raises `CacheUnavailable`."""
        return await self.backend.usage()

    async def get(
        self, name: str, key: str, load: Load, *, hide: tuple[type[Exception], ...] = ()
    ) -> Entry:
        """The entry of `key`, loaded if there is no fresh one.

        However many ask at the same time, in however many processes: `load` runs once. One who is
        cancelled does not harm the others; when nobody waits any more, the load is cancelled.

        Args:
            name: what the figures are counted under.
            key: tells this entry from all others.
            load: raises what it will; everybody who waits gets that error.
            hide: errors of `load` to which an entry that is too old is preferred.
        """
        figures = self.figures[name] if counted.get() else Figures()
        entry = await self.find(name, key)
        if entry is not None and self.clock() < entry.fresh_until:
            figures.hits += 1
            if self.clock() >= entry.refresh_at:
                self.refresh(name, key, load)
            return entry
        try:
            loaded = await self.join(name, key, load)
        except hide:
            if entry is None or self.clock() >= entry.usable_until:
                figures.misses += 1
                raise
            figures.stale_hits += 1
            return entry
        figures.misses += 1
        return loaded

    async def find(self, name: str, key: str) -> Entry | None:
        """The valid entry of `key`, perhaps too old to be fresh; None also without a backend."""
        started = time.perf_counter()
        try:
            data, generation = await self.backend.read(key)
            if data is None:
                return None
            entry = unpack(data)
            if entry.generation != generation or self.clock() >= entry.usable_until:
                return None
            if entry.tokens:
                tokens = await self.backend.tokens(tuple(entry.tokens))
                if tokens != list(entry.tokens.values()):
                    return None
        except (CacheUnavailable, ValueError):
            # The backend logs when it goes away; what does not decode is written anew.
            self.figures[name].errors += 1
            return None
        finally:
            seconds = time.perf_counter() - started
            timing.add("cache", seconds)
            LOOKUP.observe(seconds, name)
        return entry

    def refresh(self, name: str, key: str, load: Load) -> None:
        """Load `key` in the background, unless somebody does so already.

        Nor where many others are loaded so: whoever asks next may do it.
        """
        if key not in self._flights and len(self._refreshes) < _REFRESHES:
            task = self._start(name, key, load, detached=True).task
            self._refreshes.add(task)
            task.add_done_callback(self._refreshes.discard)

    async def forget(self, *, keys: Sequence[str] = (), tags: Sequence[str] = ()) -> None:
        """Outdate entries by key or by tag; no load that has read anything is kept or shared.

        A backend that does not answer is told later; until then its entries are bounded by their
        lifetime.
        """
        _refuse_text(keys)
        _refuse_text(tags)
        self._flights.outdate()
        with suppress(CacheUnavailable):
            await self.backend.forget(keys, tags)

    async def clear(self) -> None:
        """Outdate everything; raises `CacheUnavailable`."""
        self._flights.outdate()
        await self.backend.clear()

    @asynccontextmanager
    async def outdating(self, *tags: str) -> AsyncIterator[set[str]]:
        """Outdate `tags`, and those that are added to the set, when the block ends.

        Unless a rule refused what was to be changed. Any other error may mean that the answer to a
        commit was lost; not even a cancelled request keeps entries from being outdated.
        """
        outdated = set(tags)
        try:
            yield outdated
        except ServiceError as error:
            if not isinstance(error, Unavailable | TimedOut):
                outdated.clear()
            raise
        finally:
            if outdated:
                await asyncio.shield(self._background(self.forget(tags=sorted(outdated))))

    async def join(self, name: str, key: str, load: Load) -> Entry:
        """Share the load of `key` that is in progress, or start it.

        For who has looked with `find`, and may not want what it found; `get` does both.
        """
        for _ in range(_SHARED_ATTEMPTS):
            flight = self._flights.get(key)
            began = flight is None
            if flight is None:
                flight = self._start(name, key, load)
            in_time = not flight.reads
            flight.waiters += 1
            try:
                with nullcontext() if began else timing.measured("queue"):
                    entry, outdated = await asyncio.shield(flight.task)
            finally:
                flight.waiters -= 1
                if not flight.waiters and not flight.detached:
                    self._flights.drop(key, flight)
                    flight.task.cancel()
            # Who asked after a change must not get what was read before it.
            if in_time or not outdated:
                return entry
        return (await self._load(name, key, load))[0]

    async def reload(self, name: str, key: str, load: Load) -> Entry:
        """Load `key` though there may be a fresh entry; one that is made meanwhile will do."""
        return (await self._load(name, key, load, since=self.clock()))[0]

    def _start(self, name: str, key: str, load: Load, *, detached: bool = False) -> Flight:
        task = self._background(self._load(name, key, load))
        self._loads.add(task)
        flight = self._flights[key] = Flight(task, detached)
        task.add_done_callback(lambda _task: self._flights.drop(key, flight))
        return flight

    async def _load(
        self, name: str, key: str, load: Load, *, since: float = 0
    ) -> tuple[Entry, bool]:
        """Load `key`, or find that another process has; and whether that is outdated already."""
        lease, found = await self._wait_for_turn(name, key, since)
        if found is not None:
            return found, False
        try:
            loaded = await self._run(name, lease, load)
            # Nobody joins from here on: it is about to be asked whether this is outdated.
            self._flights.leave(key)
            return await self._keep(name, lease, loaded)
        except BaseException:
            await self._release(lease)
            raise

    async def _run(self, name: str, lease: Lease | None, load: Load) -> Loaded:
        figures = self.figures[name]
        started = time.perf_counter()
        try:
            async with self._renewing(lease):
                with self._loading():
                    return await load()
        finally:
            seconds = time.perf_counter() - started
            figures.loads += 1
            figures.load_seconds += seconds
            LOAD.observe(seconds, name)

    async def _wait_for_turn(
        self, name: str, key: str, since: float
    ) -> tuple[Lease | None, Entry | None]:
        """The lock of `key`, or what its holder has loaded, after `since`.

        Neither when the backend does not answer, or when the holder takes too long.
        """
        give_up_at = time.monotonic() + self.settings.wait_seconds
        pause_seconds, longest_pause_seconds = _PAUSES_SECONDS
        while True:
            self._flights.reads(key, True)
            try:
                with timing.measured("cache"):
                    lease = await self.backend.acquire(key, self.settings.lease_seconds)
            except CacheUnavailable:
                self.figures[name].errors += 1
                return None, None
            # Whoever had the lock before may have loaded it since the caller looked.
            try:
                found = await self.find(name, key)
            except asyncio.CancelledError:
                await self._release(lease)
                raise
            if found is not None and self.clock() < found.refresh_at and found.created > since:
                await self._release(lease)
                return None, found
            if lease is not None:
                return lease, None
            if time.monotonic() >= give_up_at:
                # Without the lock it will not be known whether this is outdated.
                self._flights.leave(key)
                return None, None
            self._flights.reads(key, False)
            with timing.measured("queue"):
                await asyncio.sleep(pause_seconds * random.uniform(0.5, 1))  # noqa: S311
            pause_seconds = min(pause_seconds * 1.5, longest_pause_seconds)

    @asynccontextmanager
    async def _renewing(self, lease: Lease | None) -> AsyncIterator[None]:
        """Keep the lock as long as the block takes."""
        if lease is None:
            yield
            return

        over = asyncio.Event()

        async def renew() -> None:
            # Not until it is cancelled, which Python 3.11 may lose: the lock would stay for ever.
            while not over.is_set():
                await asyncio.sleep(self.settings.lease_seconds / 3)
                with suppress(CacheUnavailable):
                    await self.backend.renew(lease, self.settings.lease_seconds)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            over.set()
            renewing.cancel()

    async def _keep(self, name: str, lease: Lease | None, loaded: Loaded) -> tuple[Entry, bool]:
        """An entry of what was loaded, kept if it may be; and whether it is outdated."""
        now = self.clock()
        jitter = 1 - self.settings.ttl_jitter * random.random()  # noqa: S311
        ttl_seconds = loaded.ttl_seconds * jitter
        usable_seconds = ttl_seconds + loaded.stale_seconds
        entry = Entry(
            generation="" if lease is None else lease.generation,
            tokens={},
            created=now,
            refresh_at=now + ttl_seconds * (1 - self.settings.refresh_ahead),
            fresh_until=now + ttl_seconds,
            usable_until=now + usable_seconds,
            payload=loaded.payload,
        )
        if lease is None:
            return entry, False
        try:
            with timing.measured("cache"):
                tokens = await self.backend.depend(tuple(loaded.tags), lease, usable_seconds)
                if tokens is None:
                    await self._release(lease)
                    return _not_kept(entry), True
                data = pack(replace(entry, tokens=tokens), self.settings.compress_minimum_bytes)
                if loaded.ttl_seconds > 0 and len(data) <= self.settings.max_value_bytes:
                    if await self.backend.keep(lease, data, usable_seconds):
                        return entry, False
                    return _not_kept(entry), True
                return _not_kept(entry), not await self.backend.release(lease)
        except CacheUnavailable:
            self.figures[name].errors += 1
        return entry, False

    async def _release(self, lease: Lease | None) -> None:
        if lease is not None:
            with suppress(CacheUnavailable):
                await self.backend.release(lease)

    def _background(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Somebody waited for it, and was told; or nobody did, and the next who asks will be.
            task.exception()


def _not_kept(entry: Entry) -> Entry:
    """An entry that belongs to no generation is not in the cache."""
    return replace(entry, generation="")
