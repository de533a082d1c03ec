"""FastAPI with SQLAlchemy's ORM, as its tutorials write it: a session for each request."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import BigInteger, DateTime, Identity, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.references.shapes import Draft, Page, Product

engine = create_async_engine(os.environ["REFERENCE_DATABASE_URL"], pool_size=20, max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    sku: Mapped[str]
    name: Mapped[str]
    description: Mapped[str]
    price: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


async def opened() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(opened)]


@app.get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "alive"}


@app.get("/v1/products")
async def page(session: Session, limit: int = 20) -> Page:
    statement = select(Row).order_by(Row.created_at.desc(), Row.id.desc()).limit(limit)
    rows = (await session.scalars(statement)).all()
    return Page(items=[Product.model_validate(row, from_attributes=True) for row in rows])


@app.get("/v1/products/{product_id}")
async def read(product_id: int, session: Session) -> Product:
    row = await session.get(Row, product_id)
    if row is None:
        raise HTTPException(404)
    return Product.model_validate(row, from_attributes=True)


@app.post("/v1/products", status_code=201)
async def create(draft: Draft, session: Session) -> Product:
    now = datetime.now(UTC)
    row = Row(**draft.stored(), created_at=now, updated_at=now)
    session.add(row)
    await session.commit()
    return Product.model_validate(row, from_attributes=True)
