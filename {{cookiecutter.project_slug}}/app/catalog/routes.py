"""The catalogue over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response

from app.catalog.export import stream
from app.catalog.schemas import (
    MAX_BULK,
    MAX_ID,
    BulkResult,
    PageQuery,
    Product,
    ProductChanges,
    ProductDraft,
    ProductPage,
    ProductQuery,
    Review,
    ReviewDraft,
    ReviewPage,
    Statistics,
)
from app.catalog.service import Catalog
from app.infra.http.etags import IF_NONE_MATCH, etag, is_current

router = APIRouter(prefix="/products", tags=["catalog"])


async def catalog_of(request: Request) -> Catalog:
    """The catalogue that the process has opened.

    The routes that are asked most call it: to have FastAPI solve the dependency takes them as long
    as everything else that they do by themselves.
    """
    catalog: Catalog = request.state.catalog
    return catalog


Drafts = Annotated[list[ProductDraft], Body(min_length=1, max_length=MAX_BULK)]
CatalogDependency = Annotated[Catalog, Depends(catalog_of)]
ProductId = Annotated[int, Path(ge=1, le=MAX_ID)]
ReviewId = Annotated[int, Path(ge=1, le=MAX_ID)]
IfMatch = Annotated[str | None, Header(description="ETag of the version that you have read")]


@router.get("", response_model_exclude_unset=True)
async def list_products(request: Request, query: Annotated[ProductQuery, Query()]) -> ProductPage:
    """A page of products, or those of `ids`."""
    catalog = await catalog_of(request)
    return await catalog.page(query)


@router.post("", status_code=201, response_model_exclude_unset=True)
async def create_product(request: Request, draft: ProductDraft, response: Response) -> Product:
    """Add a product; 409 when another has its sku."""
    catalog = await catalog_of(request)
    product = await catalog.create(draft)
    response.headers["Location"] = f"{request.scope['path']}/{product.id}"
    response.headers["ETag"] = etag(product.version)
    return product


@router.post("/bulk", status_code=201)
async def create_products(catalog: CatalogDependency, drafts: Drafts) -> BulkResult:
    """Add up to 1,000 products, all or none; 409 when another has one of the skus."""
    return BulkResult(ids=await catalog.create_all(drafts))


@router.put("/bulk")
async def put_products(catalog: CatalogDependency, drafts: Drafts) -> BulkResult:
    """Add up to 1,000 products or replace those that have their skus, all or none."""
    return BulkResult(ids=await catalog.put_all(drafts))


@router.get("/statistics")
async def read_statistics(catalog: CatalogDependency) -> Statistics:
    """Counts, prices and ratings of the whole catalogue."""
    return await catalog.statistics()


@router.get(
    "/export",
    response_class=Response,
    responses={200: {"content": {"application/x-ndjson": {}, "text/csv": {}}}},
)
async def export_products(
    catalog: CatalogDependency, accept: Annotated[str | None, Header()] = None
) -> Response:
    """Every product by id, as NDJSON or CSV, streamed."""
    return stream(catalog, accept)


@router.get(
    "/{product_id}",
    response_model=Product,
    response_model_exclude_unset=True,
    responses={304: {"description": "You hold the current version"}},
    openapi_extra={"parameters": [IF_NONE_MATCH]},
)
async def read_product(
    request: Request, product_id: ProductId, response: Response
) -> Product | Response:
    """One product, with the ETag that a write is held to."""
    catalog = await catalog_of(request)
    product = await catalog.get(product_id)
    tag = etag(product.version)
    if is_current(request.headers.get("if-none-match"), product.version):
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return product


@router.put("/{product_id}", response_model_exclude_unset=True)
async def replace_product(
    catalog: CatalogDependency,
    product_id: ProductId,
    draft: ProductDraft,
    response: Response,
    if_match: IfMatch = None,
) -> Product:
    """Replace a product; 412 when it has changed since `If-Match`."""
    product = await catalog.replace(product_id, draft, if_match)
    response.headers["ETag"] = etag(product.version)
    return product


@router.patch("/{product_id}", response_model_exclude_unset=True)
async def change_product(
    catalog: CatalogDependency,
    product_id: ProductId,
    changes: ProductChanges,
    response: Response,
    if_match: IfMatch = None,
) -> Product:
    """Change some fields of a product; 412 when it has changed since `If-Match`."""
    product = await catalog.change(product_id, changes, if_match)
    response.headers["ETag"] = etag(product.version)
    return product


@router.delete("/{product_id}", status_code=204)
async def remove_product(
    catalog: CatalogDependency, product_id: ProductId, if_match: IfMatch = None
) -> None:
    """Remove a product and its reviews; 412 when it has changed since `If-Match`."""
    await catalog.remove(product_id, if_match)


@router.get("/{product_id}/reviews")
async def list_reviews(
    catalog: CatalogDependency, product_id: ProductId, query: Annotated[PageQuery, Query()]
) -> ReviewPage:
    """Reviews of a product, newest first."""
    return await catalog.reviews(product_id, query)


@router.post("/{product_id}/reviews", status_code=201)
async def create_review(
    catalog: CatalogDependency,
    product_id: ProductId,
    draft: ReviewDraft,
    request: Request,
    response: Response,
) -> Review:
    """Review a product."""
    review = await catalog.add_review(product_id, draft)
    response.headers["Location"] = str(
        request.app.url_path_for("read_review", product_id=product_id, review_id=review.id)
    )
    return review


@router.get("/{product_id}/reviews/{review_id}")
async def read_review(
    catalog: CatalogDependency, product_id: ProductId, review_id: ReviewId
) -> Review:
    """One review."""
    return await catalog.review(product_id, review_id)
