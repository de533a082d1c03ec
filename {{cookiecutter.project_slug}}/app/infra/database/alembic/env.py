"""Run by Alembic for each command; the connection and the metadata come from `migrations`."""

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator

from app.infra.database import tables


def render_item(kind: str, item: Any, autogenerate: Any) -> str | Literal[False]:
    """Write the service's own column types by name, and a slice's as what they are kept as."""
    if kind != "type":
        return False
    if type(item).__module__ == tables.__name__:
        autogenerate.imports.add("from app.infra import database")
        name = type(item).__name__
        return f"database.{name}()" if isinstance(item, TypeDecorator) else f"database.{item!r}"
    return f"sa.{item.impl_instance!r}" if isinstance(item, TypeDecorator) else False


given = context.config.attributes
offline = context.is_offline_mode()
context.configure(
    connection=given["connection"],
    dialect_name=given["dialect_name"],
    literal_binds=offline,
    target_metadata=given["metadata"],
    on_version_apply=None if offline else given["on_version_apply"],
    render_item=render_item,
    render_as_batch=given["render_as_batch"],
)
with context.begin_transaction():
    context.run_migrations()
