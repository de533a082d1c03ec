"""The cache: entries by key and by tag, in memory, in a server, or in both."""

from app.infra.cache.cache import Cache
from app.infra.cache.cached import cached, key_of

__all__ = ["Cache", "cached", "key_of"]
