"""The cache: entries by key and by tag, in memory, in a server, or in both."""

from app.infra.cache.cache import Cache
from app.infra.cache.cached import cached, key_of
from app.infra.cache.policies import ResponsePolicy, tagged_by
from app.infra.cache.warming import HotRead

__all__ = ["Cache", "HotRead", "ResponsePolicy", "cached", "key_of", "tagged_by"]
