"""Price lists in the database, chunk by chunk."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ForeignKey, RowMapping, String, Table, Text, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from app.catalog.csv_chunks import Chunk
from app.catalog.price_lists import PriceList, Submit
from app.errors import Conflict
from app.infra.database import Base, Database, UtcDateTime
from app.infra.tasks import Task
from app.infra.units import unit_of_work


class PriceListRow(Base):
    __tablename__ = "price_list"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    columns: Mapped[str] = mapped_column(String(200))
    rows: Mapped[int] = mapped_column()
    task_id: Mapped[str | None] = mapped_column(String(32))


class PriceListChunkRow(Base):
    __tablename__ = "price_list_chunk"

    price_list_id: Mapped[str] = mapped_column(
        String(32), ForeignKey("price_list.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    line: Mapped[int] = mapped_column()
    rows: Mapped[int] = mapped_column()
    text: Mapped[str] = mapped_column(Text)


_list_table = cast("Table", PriceListRow.__table__)
_chunk_table = cast("Table", PriceListChunkRow.__table__)
_lists = _list_table.c
_chunks = _chunk_table.c


class DatabasePriceLists:
    """A `PriceListStore` in the tables `price_list` and `price_list_chunk`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @unit_of_work
    async def begin(self, price_list: PriceList) -> None:
        values = {
            "id": price_list.id,
            "created_at": price_list.created_at,
            "columns": ",".join(price_list.columns),
            "rows": price_list.rows,
        }
        async with self._database.writing() as session:
            await session.execute(insert(_list_table).values(values))

    @unit_of_work
    async def add(self, price_list_id: str, chunk: Chunk) -> None:
        values = {
            "price_list_id": price_list_id,
            "number": chunk.number,
            "line": chunk.line,
            "rows": chunk.rows,
            "text": chunk.text,
        }
        async with self._database.writing() as session:
            try:
                await session.execute(insert(_chunk_table).values(values))
            except IntegrityError as error:
                raise _is_gone() from error

    @unit_of_work
    async def complete(self, price_list_id: str, rows: int, submit: Submit) -> Task:
        async with self._database.writing() as session:
            task = await submit(price_list_id)
            statement = update(_list_table).where(_lists.id == price_list_id)
            result: Any = await session.execute(statement.values(rows=rows, task_id=task.id))
            if not result.rowcount:
                raise _is_gone()
        return task

    @unit_of_work
    async def find(self, price_list_id: str) -> PriceList | None:
        found = await self._read(select(*_lists).where(_lists.id == price_list_id))
        return _price_list(found[0]) if found else None

    @unit_of_work
    async def chunk(self, price_list_id: str, number: int) -> Chunk | None:
        columns = (_chunks.number, _chunks.line, _chunks.rows, _chunks.text)
        statement = select(*columns).where(
            _chunks.price_list_id == price_list_id, _chunks.number == number
        )
        found = await self._read(statement)
        return Chunk(**found[0]) if found else None

    @unit_of_work
    async def after(self, price_list_id: str, limit: int) -> list[PriceList]:
        statement = select(*_lists).where(_lists.id > price_list_id)
        found = await self._read(statement.order_by(_lists.id).limit(limit))
        return [_price_list(row) for row in found]

    @unit_of_work
    async def remove(self, price_list_id: str, *, complete: bool = True) -> None:
        statement = delete(_list_table).where(_lists.id == price_list_id)
        if not complete:
            statement = statement.where(_lists.task_id.is_(None))
        async with self._database.writing() as session:
            await session.execute(statement)

    async def _read(self, statement: Any) -> Sequence[RowMapping]:
        async with self._database.reading() as connection:
            return (await connection.execute(statement)).mappings().all()


def _price_list(row: RowMapping) -> PriceList:
    return PriceList(**{**row, "columns": tuple(row["columns"].split(","))})


def _is_gone() -> Conflict:
    return Conflict("The upload took too long, and was given up; send the list again.")
