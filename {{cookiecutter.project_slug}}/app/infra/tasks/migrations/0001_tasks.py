"""The book of tasks."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.infra import database

revision: str = "tasks_0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = ("tasks",)
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "task",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.Column("due_at", database.UtcDateTime(), nullable=False),
        sa.Column("look_at", database.UtcDateTime(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=True),
        sa.Column("key_digest", sa.String(length=64), nullable=True),
        sa.Column("deadline_at", database.UtcDateTime(), nullable=True),
        sa.Column("request_id", sa.String(length=200), nullable=True),
        sa.Column("trace", sa.String(length=200), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("started_at", database.UtcDateTime(), nullable=True),
        sa.Column("finished_at", database.UtcDateTime(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("checkpoint", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("cancelling", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("key_digest", name=op.f("uq_task_key_digest")),
    )
    op.create_index(op.f("ix_task_state_look_at"), "task", ["state", "look_at"])


def downgrade() -> None:
    op.drop_table("task")
