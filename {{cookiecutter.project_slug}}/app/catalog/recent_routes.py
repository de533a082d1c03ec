"""What a client has looked at lately, kept in its session."""

from fastapi import APIRouter
from pydantic import ValidationError

from app.catalog.routes import CatalogDependency, ProductId
from app.catalog.schemas import PartialProduct, ProductQuery
from app.infra.sessions import SessionDependency

router = APIRouter(prefix="/recently-viewed", tags=["catalog"])

MOST_RECENT = 10
_RECENT = "recently_viewed"


@router.get("", response_model_exclude_unset=True)
async def list_recently_viewed(
    catalog: CatalogDependency, session: SessionDependency
) -> list[PartialProduct]:
    """The products that were viewed last, newest first, without those that are gone."""
    try:
        query = ProductQuery(ids=await session.get(_RECENT) or [])
    except ValidationError:
        # Another release may have kept something else there.
        return []
    return (await catalog.page(query)).items if query.ids else []


@router.put("/{product_id}", status_code=204)
async def view_product(
    catalog: CatalogDependency, session: SessionDependency, product_id: ProductId
) -> None:
    """Note that a product was viewed; the last 10 are kept."""
    await catalog.get(product_id)

    def viewed(ids: list[int] | None) -> list[int]:
        others = [other for other in ids or () if other != product_id]
        return [product_id, *others][:MOST_RECENT]

    await session.update(_RECENT, viewed)


@router.delete("", status_code=204)
async def forget_recently_viewed(session: SessionDependency) -> None:
    """End the session, and forget with it what was viewed."""
    await session.end()
