"""Tables of the catalogue, and the indexes that its reads lean on."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, SmallInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.infra.database import Base, CodePoints, Hundredths, Identity, UtcDateTime


class ProductRow(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    version: Mapped[int] = mapped_column()
    sku: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(CodePoints(200))
    description: Mapped[str] = mapped_column(Text)
    price: Mapped[Decimal] = mapped_column(Hundredths)
    currency: Mapped[str] = mapped_column(String(3))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # Loading it by accident, row after row, is an error; the database deletes what belongs to it.
    reviews: Mapped[list["ReviewRow"]] = relationship(
        back_populates="product", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )

    # A write that finds another version than it read fails, instead of undoing the other's work.
    __mapper_args__: dict[str, Any] = {"version_id_col": version}  # noqa: RUF012
    # One for each order that is offered; the id breaks ties.
    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "name", "id"),
        Index(None, "price", "id"),
    )


class ReviewRow(Base):
    __tablename__ = "review"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    product_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("product.id", ondelete="CASCADE")
    )
    author: Mapped[str] = mapped_column(String(200))
    rating: Mapped[int] = mapped_column(SmallInteger)
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    product: Mapped[ProductRow] = relationship(back_populates="reviews", lazy="raise")

    __table_args__ = (Index(None, "product_id", "id"),)
