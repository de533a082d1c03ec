"""Price lists: kept as they arrive, and imported in the background.

A list may be larger than memory, its sender slow, and a worker die in the middle of it: so it is
kept in chunks, each in a short unit of work, and each is imported in another one, in which the
task's checkpoint moves on.
"""

import csv
import io
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog
from pydantic import BaseModel, ValidationError

from app.catalog.csv_chunks import Chunk, cut
from app.catalog.schemas import ProductDraft
from app.catalog.service import Store
from app.errors import BadRequest, NotFound, ServiceError
from app.infra.tasks import Run, State, Task, Tasks
from app.infra.units import unit_of_work

logger = structlog.get_logger()

COLUMNS = tuple(ProductDraft.model_fields)
_REQUIRED = tuple(name for name, each in ProductDraft.model_fields.items() if each.is_required())
_ABANDONED_AFTER = timedelta(days=1)
_PAGE_ROWS = 100
# Together, and with every character escaped, less than the 60,000 bytes that a task may keep.
_MAX_ERRORS = 100
_SKU_CHARACTERS = 64
_DETAIL_CHARACTERS = 150
_NAMED_COLUMNS = 5

Submit = Callable[[str], Awaitable[Task]]
"""Submits the import of the price list with this id."""


@dataclass(frozen=True, slots=True)
class PriceList:
    """What was uploaded, without its chunks."""

    id: str
    created_at: datetime
    columns: tuple[str, ...]
    rows: int = 0
    """Records of all chunks, once all have come."""
    task_id: str | None = None
    """Of its import; None until all chunks have come."""


class PriceListStore(Protocol):
    """Where price lists wait for their import. All of it may raise `TryAgain`."""

    async def begin(self, price_list: PriceList) -> None: ...

    async def add(self, price_list_id: str, chunk: Chunk) -> None:
        """Raises `Conflict` when the list was removed meanwhile."""

    async def complete(self, price_list_id: str, rows: int, submit: Submit) -> Task:
        """Submit the import and note its task, both in one unit of work.

        Raises:
            Conflict: the list was removed meanwhile.
        """

    async def find(self, price_list_id: str) -> PriceList | None: ...

    async def chunk(self, price_list_id: str, number: int) -> Chunk | None: ...

    async def after(self, price_list_id: str, limit: int) -> list[PriceList]:
        """The next lists by id, complete or not."""

    async def remove(self, price_list_id: str, *, complete: bool = True) -> None:
        """Remove a list and its chunks; with `complete=False`, only while it has no task."""


class RowError(BaseModel):
    """Why a row was not imported."""

    line: int
    """The line of the upload in which the row begins, counted from 1."""
    sku: str | None
    """None where the row has too few values, or too many."""
    detail: str


class ImportResult(BaseModel):
    rows: int = 0
    imported: int = 0
    """Rows whose product was added or replaced; where a sku stands twice, the last row stays."""
    failed: int = 0
    errors: list[RowError] = []
    """Of the first 100 rows that failed."""


class _Progress(ImportResult):
    """What the next attempt goes on from."""

    chunks: int = 0
    """Number of the last chunk that was imported; 0 before the first."""


@dataclass
class _Rows:
    """A chunk, read."""

    rows: int = 0
    drafts: dict[str, ProductDraft] = field(default_factory=dict)
    errors: list[RowError] = field(default_factory=list)


class PriceLists:
    """What can be done with price lists."""

    def __init__(
        self,
        lists: PriceListStore,
        products: Store,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lists = lists
        self._products = products
        self._clock = clock

    async def upload(self, pieces: AsyncIterable[bytes], submit: Submit) -> Task:
        """Keep a list in CSV and submit its import; nothing is kept when that fails.

        No unit of work is open while a piece is waited for.

        Raises:
            BadRequest: it is no CSV in UTF-8, or the header line names other columns.
            Unavailable: it cannot be kept, or imported, now.
        """
        rows = 0
        price_list: PriceList | None = None
        try:
            async with aclosing(cut(pieces)) as chunks:
                async for chunk in chunks:
                    if price_list is None:
                        columns = columns_of(chunk.text)
                        price_list = PriceList(secrets.token_hex(16), self._clock(), columns)
                        await self._lists.begin(price_list)
                    else:
                        await self._lists.add(price_list.id, chunk)
                        rows += chunk.rows
            if price_list is None:
                raise BadRequest(f"The list is empty; begin it with the line {','.join(COLUMNS)}.")
            task = await self._lists.complete(price_list.id, rows, submit)
        except BaseException:
            if price_list is not None:
                # Should the answer to the last commit be lost, it may have its task after all.
                await self._discard(price_list.id, complete=False)
            raise
        if json.loads(task.arguments)["price_list_id"] != price_list.id:
            # An earlier upload had the same key.
            await self._discard(price_list.id, complete=True)
        return task

    async def import_all(self, run: Run, price_list_id: str) -> ImportResult:
        """Add or replace the products of a list, from where an earlier attempt has stopped.

        Raises:
            NotFound: the list is gone.
            Unavailable: the lists, or the products, do not answer.
        """
        price_list = await self._lists.find(price_list_id)
        if price_list is None:
            raise NotFound("The price list is gone; send it again.")
        progress = _Progress.model_validate(run.checkpoint or {})
        while chunk := await self._lists.chunk(price_list_id, progress.chunks + 1):
            read = _read(chunk, price_list.columns)
            progress = _after(progress, chunk, read)

            async def save(progress: _Progress = progress) -> None:
                await run.save(progress, done=progress.rows, total=price_list.rows)

            await self.put(list(read.drafts.values()), save)
        return ImportResult(**progress.model_dump(exclude={"chunks"}))

    @unit_of_work
    async def put(
        self, drafts: Sequence[ProductDraft], save: Callable[[], Awaitable[None]]
    ) -> list[int]:
        """Add each of `drafts`, or replace the product with its sku, and `save`: all or nothing."""
        async with self._products.writing() as writer:
            ids = await writer.put_all(drafts, self._clock()) if drafts else []
            await save()
        return ids

    async def tidy(self, tasks: Tasks) -> int:
        """Remove what was abandoned a day ago, and lists whose import is over; how many.

        One whose import has failed stays, since it can be run again, until its task is forgotten.
        """
        removed = 0
        last_id = ""
        while page := await self._lists.after(last_id, _PAGE_ROWS):
            for price_list in page:
                if await self._is_over(price_list, tasks):
                    await self._lists.remove(price_list.id)
                    removed += 1
            last_id = page[-1].id
        return removed

    async def _is_over(self, price_list: PriceList, tasks: Tasks) -> bool:
        if price_list.task_id is None:
            return price_list.created_at < self._clock() - _ABANDONED_AFTER
        try:
            task = await tasks.get(price_list.task_id)
        except NotFound:
            return True
        return task.state in {State.SUCCEEDED, State.CANCELLED}

    async def _discard(self, price_list_id: str, *, complete: bool) -> None:
        try:
            await self._lists.remove(price_list_id, complete=complete)
        except ServiceError as error:
            # `tidy` comes by.
            logger.warning("price list was left behind", id=price_list_id, cause=str(error))


def columns_of(header: str) -> tuple[str, ...]:
    """The columns that the header line names.

    Raises:
        BadRequest: one is missing, unknown, or there twice.
    """
    names = tuple(name.strip() for name in next(csv.reader(io.StringIO(header, newline="")), ()))
    complaints = [
        f"{complaint} {_listed(wrong)}"
        for complaint, wrong in (
            ("lacks", [name for name in _REQUIRED if name not in names]),
            ("has twice", [name for name, times in Counter(names).items() if times > 1]),
            ("names the unknown", sorted({*names}.difference(COLUMNS))),
        )
        if wrong
    ]
    if complaints:
        optional = [name for name in COLUMNS if name not in _REQUIRED]
        raise BadRequest(
            f"The header line {', '.join(complaints)}; name {_listed(_REQUIRED)}, if you like"
            f" {_listed(optional)}, with commas between, and each once."
        )
    return names


def _listed(names: Sequence[str]) -> str:
    shown = [repr(name[:_SKU_CHARACTERS]) for name in names[:_NAMED_COLUMNS]]
    return ", ".join(shown) + (" and others" if len(names) > len(shown) else "")


def _read(chunk: Chunk, columns: Sequence[str]) -> _Rows:
    read = _Rows()
    reader = csv.reader(io.StringIO(chunk.text, newline=""))
    line = chunk.line
    for values in reader:
        if values:
            read.rows += 1
            draft = _draft(values, columns, line)
            if isinstance(draft, RowError):
                read.errors.append(draft)
            else:
                read.drafts[draft.sku] = draft
        line = chunk.line + reader.line_num
    return read


def _draft(values: Sequence[str], columns: Sequence[str], line: int) -> ProductDraft | RowError:
    if len(values) != len(columns):
        detail = f"The row has {len(values)} values where the header line names {len(columns)}."
        return RowError(line=line, sku=None, detail=detail)
    named = dict(zip(columns, values, strict=True))
    try:
        return ProductDraft.model_validate(named)
    except ValidationError as error:
        details = (
            f"{each['loc'][0]}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        )
        detail = "; ".join(details)[:_DETAIL_CHARACTERS]
        return RowError(line=line, sku=named["sku"][:_SKU_CHARACTERS], detail=detail)


def _after(progress: _Progress, chunk: Chunk, read: _Rows) -> _Progress:
    failed = len(read.errors)
    return _Progress(
        chunks=chunk.number,
        rows=progress.rows + read.rows,
        imported=progress.imported + read.rows - failed,
        failed=progress.failed + failed,
        errors=[*progress.errors, *read.errors][:_MAX_ERRORS],
    )
