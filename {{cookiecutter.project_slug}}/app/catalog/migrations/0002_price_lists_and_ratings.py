"""Price lists, and ratings."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.infra import database

revision: str = "catalog_0002"
down_revision: str | None = "catalog_0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "price_list",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.Column("columns", sa.String(length=200), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_list")),
    )
    op.create_table(
        "price_list_chunk",
        sa.Column("price_list_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["price_list_id"],
            ["price_list.id"],
            name=op.f("fk_price_list_chunk_price_list_id_price_list"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("price_list_id", "number", name=op.f("pk_price_list_chunk")),
    )
    op.create_table(
        "product_rating",
        sa.Column("product_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reviews", sa.Integer(), nullable=False),
        sa.Column("rating_sum", sa.BigInteger(), nullable=False),
        sa.Column("rating_average", sa.Double(), nullable=False),
        sa.Column("counted_at", database.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["product_id"],
            ["product.id"],
            name=op.f("fk_product_rating_product_id_product"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_product_rating")),
    )
    op.create_index(
        op.f("ix_product_rating_rating_average_reviews_product_id"),
        "product_rating",
        ["rating_average", "reviews", "product_id"],
    )


def downgrade() -> None:
    op.drop_table("product_rating")
    op.drop_table("price_list_chunk")
    op.drop_table("price_list")
