"""FastAPI with asyncpg: as little between a request and PostgreSQL as FastAPI allows."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from fastapi import FastAPI, HTTPException, Request

from benchmarks.references.shapes import Draft, Page, Product

FIELDS = "id, version, sku, name, description, price, currency, created_at, updated_at"
READ = f"SELECT {FIELDS} FROM product WHERE id = $1"  # noqa: S608  # nothing of it is foreign
PAGE = f"SELECT {FIELDS} FROM product ORDER BY created_at DESC, id DESC LIMIT $1"  # noqa: S608
CREATE = f"""
INSERT INTO product (version, sku, name, description, price, currency, created_at, updated_at)
VALUES (1, $1, $2, $3, $4, $5, $6, $6) RETURNING {FIELDS}
"""  # noqa: S608


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    def get_reset_query(self) -> str:
        return ""


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    url = os.environ["REFERENCE_DATABASE_URL"].replace("+asyncpg", "")
    bounds = {"min_size": 20, "max_size": 40}
    async with asyncpg.create_pool(url, connection_class=_Connection, **bounds) as pool:
        yield {"pool": pool}


app = FastAPI(lifespan=lifespan)


@app.get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "alive"}


@app.get("/v1/products")
async def page(request: Request, limit: int = 20) -> Page:
    rows = await request.state.pool.fetch(PAGE, limit)
    return Page(items=[Product.model_construct(**row) for row in rows])


@app.get("/v1/products/{product_id}")
async def read(product_id: int, request: Request) -> Product:
    row = await request.state.pool.fetchrow(READ, product_id)
    if row is None:
        raise HTTPException(404)
    return Product.model_construct(**row)


@app.post("/v1/products", status_code=201)
async def create(draft: Draft, request: Request) -> Product:
    now = datetime.now(UTC)
    row = await request.state.pool.fetchrow(CREATE, *draft.stored().values(), now)
    return Product.model_construct(**row)
