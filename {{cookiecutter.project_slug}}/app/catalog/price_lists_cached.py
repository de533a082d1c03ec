"""Price lists, whose import outdates what is cached of the catalogue."""

from collections.abc import Awaitable, Callable, Sequence

from app.catalog.cached import PRODUCTS, product_tag
from app.catalog.price_lists import PriceLists, PriceListStore
from app.catalog.schemas import ProductDraft
from app.catalog.service import Store
from app.infra.cache import Cache


class CachedPriceLists(PriceLists):
    """The same rules; what a chunk has changed is outdated after its commit."""

    def __init__(self, lists: PriceListStore, products: Store, cache: Cache) -> None:
        super().__init__(lists, products)
        self._cache = cache

    async def put(
        self, drafts: Sequence[ProductDraft], save: Callable[[], Awaitable[None]]
    ) -> list[int]:
        async with self._cache.outdating(PRODUCTS) as outdated:
            ids = await super().put(drafts, save)
            outdated.update(map(product_tag, ids))
        return ids
