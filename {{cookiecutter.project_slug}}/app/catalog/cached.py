"""The catalogue, cached: what is read often, for how long, and what outdates it."""

from collections.abc import Mapping, Sequence

from app.catalog.schemas import (
    Product,
    ProductChanges,
    ProductDraft,
    Review,
    ReviewDraft,
    Statistics,
)
from app.catalog.service import Catalog, Store
from app.errors import NotFound
from app.infra.cache import Cache, HotRead, ResponsePolicy, cached, tagged_by
from app.infra.http.pages import Cursors

PRODUCTS = "products"
"""Tag of what depends on every product: listings and statistics."""


def product_tag(product_id: int) -> str:
    """Tag of what depends on one product and its reviews."""
    return f"product-{product_id}"


_of_product = tagged_by("product_id", product_tag)
POLICIES: Mapping[str, ResponsePolicy] = {
    "list_products": ResponsePolicy(ttl_seconds=10, tags=lambda _path: [PRODUCTS]),
    "read_statistics": ResponsePolicy(
        ttl_seconds=30, stale_seconds=30, tags=lambda _path: [PRODUCTS]
    ),
    "read_product": ResponsePolicy(ttl_seconds=60, tags=_of_product),
    "list_reviews": ResponsePolicy(ttl_seconds=60, tags=_of_product),
    "read_review": ResponsePolicy(ttl_seconds=60, tags=_of_product),
}
"""By route, those whose responses are cached. They are the same for everybody."""


def hot_reads(catalog: Catalog) -> Sequence[HotRead]:
    """What many ask for and takes long: kept warm from the start on."""
    return [catalog.statistics]


class CachedCatalog(Catalog):
    """The same rules, whose reads go through the cache and whose writes outdate what they change.

    Always after the commit: a load that began before it is not kept. Should the process end in
    between, what was cached is too old until its time is up.
    """

    def __init__(self, store: Store, cursors: Cursors, cache: Cache) -> None:
        super().__init__(store, cursors)
        self.cache = cache

    @cached(
        ttl_seconds=60,
        stale_seconds=300,
        errors=(NotFound,),
        tags=lambda _product, product_id: [product_tag(product_id)],
    )
    async def get(self, product_id: int) -> Product:
        return await super().get(product_id)

    @cached(ttl_seconds=30, stale_seconds=300, tags=lambda _statistics: [PRODUCTS])
    async def statistics(self) -> Statistics:
        return await super().statistics()

    async def create(self, draft: ProductDraft) -> Product:
        async with self.cache.outdating(PRODUCTS) as outdated:
            product = await super().create(draft)
            outdated.add(product_tag(product.id))
        return product

    async def create_all(self, drafts: Sequence[ProductDraft]) -> list[int]:
        async with self.cache.outdating(PRODUCTS) as outdated:
            ids = await super().create_all(drafts)
            outdated.update(map(product_tag, ids))
        return ids

    async def put_all(self, drafts: Sequence[ProductDraft]) -> list[int]:
        async with self.cache.outdating(PRODUCTS) as outdated:
            ids = await super().put_all(drafts)
            outdated.update(map(product_tag, ids))
        return ids

    async def replace(self, product_id: int, draft: ProductDraft, if_match: str | None) -> Product:
        async with self.cache.outdating(PRODUCTS, product_tag(product_id)):
            return await super().replace(product_id, draft, if_match)

    async def change(
        self, product_id: int, changes: ProductChanges, if_match: str | None
    ) -> Product:
        async with self.cache.outdating(PRODUCTS, product_tag(product_id)):
            return await super().change(product_id, changes, if_match)

    async def remove(self, product_id: int, if_match: str | None) -> None:
        async with self.cache.outdating(PRODUCTS, product_tag(product_id)):
            await super().remove(product_id, if_match)

    async def add_review(self, product_id: int, draft: ReviewDraft) -> Review:
        async with self.cache.outdating(PRODUCTS, product_tag(product_id)):
            return await super().add_review(product_id, draft)
