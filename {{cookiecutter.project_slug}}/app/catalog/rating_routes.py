"""Ratings over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from app.catalog.ratings import Ratings, TopRated
from app.catalog.schemas import MAX_PAGE

router = APIRouter(prefix="/products", tags=["catalog"])


async def _ratings(request: Request) -> Ratings:
    ratings: Ratings = request.state.ratings
    return ratings


@router.get("/top-rated")
async def list_top_rated(
    ratings: Annotated[Ratings, Depends(_ratings)],
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 10,
) -> TopRated:
    """The products that customers like best, as of the last count."""
    return await ratings.top(limit)
