"""What the cache has done, and how full it is."""

from dataclasses import replace

from app.infra.cache import Cache
from app.infra.cache.figures import Figures
from app.infra.monitoring.instruments import Counter, Gauge

ENTRIES = Gauge("cache_entries", "Entries that are kept, with tags and locks", across="latest")
BYTES = Gauge("cache_size_bytes", "Bytes that the entries take", across="latest")
EVICTIONS = Gauge(
    "cache_evictions",
    "Entries that made room for others, since what keeps them was started",
    across="latest",
)
REQUESTS = Counter(
    "cache_requests_total",
    "What was asked of a cache: a hit, one that was too old, a miss",
    ["cache", "outcome"],
)
ERRORS = Counter("cache_errors_total", "Times that the cache did not answer", ["cache"])


class CacheSamples:
    """Looks at a cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._told: dict[str, Figures] = {}

    async def take(self) -> None:
        for name, now in self._cache.figures.items():
            before = self._told.get(name, Figures())
            REQUESTS.add(name, "hit", amount=now.hits - before.hits)
            REQUESTS.add(name, "stale", amount=now.stale_hits - before.stale_hits)
            REQUESTS.add(name, "miss", amount=now.misses - before.misses)
            ERRORS.add(name, amount=now.errors - before.errors)
            self._told[name] = replace(now)
        usage = await self._cache.usage()
        ENTRIES.set(usage.entries)
        BYTES.set(usage.bytes)
        EVICTIONS.set(usage.evictions)
