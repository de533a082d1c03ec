"""Products and reviews."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.infra import database

revision: str = "catalog_0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = ("catalog",)
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "product",
        sa.Column("id", database.Identity(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sku", sa.String(length=64), nullable=False),
        sa.Column("name", database.CodePoints(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("price", database.Hundredths(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.Column("updated_at", database.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product")),
        sa.UniqueConstraint("sku", name=op.f("uq_product_sku")),
    )
    op.create_index(op.f("ix_product_created_at_id"), "product", ["created_at", "id"])
    op.create_index(op.f("ix_product_name_id"), "product", ["name", "id"])
    op.create_index(op.f("ix_product_price_id"), "product", ["price", "id"])
    op.create_table(
        "review",
        sa.Column("id", database.Identity(), nullable=False),
        sa.Column("product_id", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("rating", sa.SmallInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        sa.ForeignKeyConstraint(
            ["product_id"],
            ["product.id"],
            name=op.f("fk_review_product_id_product"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(op.f("ix_review_product_id_id"), "review", ["product_id", "id"])


def downgrade() -> None:
    op.drop_table("review")
    op.drop_table("product")
