"""Tasks in the database: written with the changes that they belong to, or not at all."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Index, String, Table, Text, case, delete, event, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.errors import TryAgain
from app.infra.database import Base, Database, UtcDateTime
from app.infra.tasks.ledger import Backlog, State, Superseded, Task
from app.infra.units import unit_of_work


class TaskRow(Base):
    __tablename__ = "task"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    arguments: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    look_at: Mapped[datetime] = mapped_column(UtcDateTime)
    key: Mapped[str | None] = mapped_column(String(200))
    key_digest: Mapped[str | None] = mapped_column(String(64), unique=True)
    deadline_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    request_id: Mapped[str | None] = mapped_column(String(200))
    trace: Mapped[str | None] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(16))
    sends: Mapped[int] = mapped_column()
    attempt: Mapped[int] = mapped_column()
    failures: Mapped[int] = mapped_column()
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    done: Mapped[int] = mapped_column()
    total: Mapped[int | None] = mapped_column()
    checkpoint: Mapped[str | None] = mapped_column(Text)
    result: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    cancelling: Mapped[bool] = mapped_column()

    __table_args__ = (Index(None, "state", "look_at"),)


_table = cast("Table", TaskRow.__table__)
_tasks = _table.c
_columns = [_tasks[field.name] for field in fields(Task)]
_OVER = [state for state in State if state.over]
# Later ones leave their key to the next task.
_HOLDS_KEY = [State.QUEUED, State.RUNNING, State.SUCCEEDED]


class DatabaseLedger:
    """A `Ledger` in the table `task`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @unit_of_work
    async def add(self, task: Task, kept: Callable[[], None], *, once: bool = False) -> Task:
        row = {field.name: getattr(task, field.name) for field in fields(Task)}
        row["key_digest"] = digest = _digest(task)
        async with self._database.joined() as session:
            if digest is not None:
                known = await _first(session, _tasks.key_digest == digest)
                if known is not None:
                    if once or known.state in _HOLDS_KEY:
                        return known
                    await session.execute(
                        update(_table).where(_tasks.id == known.id).values(key_digest=None)
                    )
            # After an error, some databases take nothing but the end of the unit of work, which the
            # caller may not want. The session itself would count a savepoint as a commit.
            connection = await session.connection()
            try:
                async with connection.begin_nested():
                    await connection.execute(insert(_table).values(row))
            except IntegrityError as error:
                raise TryAgain("The same task was submitted at this moment; try again.") from error
            event.listen(session.sync_session, "after_commit", lambda _: kept(), once=True)
        return task

    @unit_of_work
    async def read(self, task_id: str) -> Task | None:
        async with self._database.reading() as connection:
            found = await connection.execute(select(*_columns).where(_tasks.id == task_id))
            return _task(found.mappings().first())

    @unit_of_work
    async def claim(self, task_id: str, now: datetime, look_at: datetime) -> Task | None:
        statement = (
            update(_table)
            .where(_tasks.id == task_id, _tasks.state == State.QUEUED)
            .values(
                state=State.RUNNING,
                attempt=_tasks.attempt + 1,
                started_at=func.coalesce(_tasks.started_at, now),
                look_at=look_at,
            )
        )
        async with self._database.writing() as session:
            if not await _changed(session, statement):
                return None
            return await _first(session, _tasks.id == task_id)

    @unit_of_work
    async def renew(self, task: Task, look_at: datetime) -> bool:
        async with self._database.writing() as session:
            await _change(session, task, look_at=look_at)
            current = await _first(session, _tasks.id == task.id)
            return current is not None and not current.cancelling

    async def save(self, task: Task, checkpoint: str | None, done: int, total: int | None) -> None:
        async with self._database.joined() as session:
            await _change(session, task, checkpoint=checkpoint, done=done, total=total)

    @unit_of_work
    async def finish(
        self,
        task: Task,
        state: State,
        now: datetime,
        look_at: datetime,
        *,
        result: str | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        async with self._database.writing() as session:
            await _change(
                session,
                task,
                state=state,
                finished_at=now,
                look_at=look_at,
                failures=task.failures + (state == State.FAILED),
                result=result,
                reason=reason,
                error=error,
            )

    @unit_of_work
    async def postpone(
        self, task: Task, due_at: datetime, *, failed: bool, error: str | None = None
    ) -> None:
        async with self._database.writing() as session:
            await _change(
                session,
                task,
                state=State.QUEUED,
                due_at=due_at,
                look_at=due_at,
                failures=task.failures + failed,
                error=func.coalesce(error, _tasks.error),
            )

    @unit_of_work
    async def cancel(self, task_id: str, now: datetime, look_at: datetime) -> Task | None:
        queued = (
            update(_table)
            .where(_tasks.id == task_id, _tasks.state == State.QUEUED)
            .values(state=State.CANCELLED, finished_at=now, look_at=look_at)
        )
        running = (
            update(_table)
            .where(_tasks.id == task_id, _tasks.state == State.RUNNING)
            .values(cancelling=True)
        )
        async with self._database.writing() as session:
            if not await _changed(session, queued):
                await session.execute(running)
            return await _first(session, _tasks.id == task_id)

    @unit_of_work
    async def due(
        self, now: datetime, limit: int, again_at: Callable[[int], datetime]
    ) -> list[str]:
        late = (
            select(_tasks.id, _tasks.sends)
            .where(_tasks.state == State.QUEUED, _tasks.look_at <= now)
            .order_by(_tasks.look_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        if not await self._any(State.QUEUED, now):
            return []
        async with self._database.writing() as session:
            rows = (await session.execute(late)).all()
            by_sends: defaultdict[int, list[str]] = defaultdict(list)
            for row in rows:
                by_sends[row.sends].append(row.id)
            for sends, ids in by_sends.items():
                statement = update(_table).where(_tasks.id.in_(ids))
                await session.execute(statement.values(sends=sends + 1, look_at=again_at(sends)))
            return [row.id for row in rows]

    @unit_of_work
    async def release(self, task_ids: Sequence[str], now: datetime) -> None:
        queued = (_tasks.id.in_(task_ids), _tasks.state == State.QUEUED)
        async with self._database.writing() as session:
            await session.execute(update(_table).where(*queued).values(look_at=now))

    @unit_of_work
    async def lapsed(self, now: datetime, limit: int) -> list[Task]:
        statement = (
            select(*_columns)
            .where(_tasks.state == State.RUNNING, _tasks.look_at <= now)
            .order_by(_tasks.look_at)
            .limit(limit)
        )
        return await self._read(statement)

    @unit_of_work
    async def forget(self, now: datetime, limit: int) -> int:
        statement = select(_tasks.id).where(_tasks.state.in_(_OVER), _tasks.look_at <= now)
        async with self._database.reading() as connection:
            ids = (await connection.scalars(statement.limit(limit))).all()
        if not ids:
            return 0
        async with self._database.writing() as session:
            await session.execute(delete(_table).where(_tasks.id.in_(ids)))
        return len(ids)

    @unit_of_work
    async def failed(self, limit: int) -> list[Task]:
        statement = select(*_columns).where(_tasks.state == State.FAILED)
        latest = statement.order_by(_tasks.finished_at.desc(), _tasks.id.desc())
        return await self._read(latest.limit(limit))

    @unit_of_work
    async def revive(self, task_id: str, now: datetime) -> bool:
        statement = (
            update(_table)
            .where(_tasks.id == task_id, _tasks.state == State.FAILED)
            .values(
                state=State.QUEUED,
                due_at=now,
                look_at=now,
                deadline_at=None,
                failures=0,
                sends=0,
                finished_at=None,
                reason=None,
                cancelling=False,
            )
        )
        async with self._database.writing() as session:
            return await _changed(session, statement)

    @unit_of_work
    async def backlog(self) -> list[Backlog]:
        queued = _tasks.state == State.QUEUED
        statement = (
            select(
                _tasks.name,
                func.count(case((queued, 1))).label("queued"),
                func.count(case((~queued, 1))).label("running"),
                func.min(case((queued, _tasks.due_at))).label("oldest_due_at"),
            )
            .where(_tasks.state.in_([State.QUEUED, State.RUNNING]))
            .group_by(_tasks.name)
            .order_by(_tasks.name)
        )
        async with self._database.reading() as connection:
            return [Backlog(*row) for row in await connection.execute(statement)]

    async def _any(self, state: State, now: datetime) -> bool:
        statement = select(_tasks.id).where(_tasks.state == state, _tasks.look_at <= now).limit(1)
        async with self._database.reading() as connection:
            return (await connection.execute(statement)).first() is not None

    async def _read(self, statement: Any) -> list[Task]:
        async with self._database.reading() as connection:
            rows = (await connection.execute(statement)).mappings().all()
        return [task for row in rows if (task := _task(row)) is not None]


def _digest(task: Task) -> str | None:
    if task.key is None:
        return None
    return hashlib.sha256(f"{task.name}\0{task.key}".encode()).hexdigest()


def _task(row: Any) -> Task | None:
    return None if row is None else Task(**{**row, "state": State(row["state"])})


async def _first(session: AsyncSession, condition: Any) -> Task | None:
    found = await session.execute(select(*_columns).where(condition))
    return _task(found.mappings().first())


async def _changed(session: AsyncSession, statement: Any) -> bool:
    result: Any = await session.execute(statement)
    return bool(result.rowcount)


async def _change(session: AsyncSession, task: Task, **values: Any) -> None:
    """Change a running task, if this attempt is still the current one."""
    statement = update(_table).where(
        _tasks.id == task.id, _tasks.state == State.RUNNING, _tasks.attempt == task.attempt
    )
    if not await _changed(session, statement.values(values)):
        raise Superseded(task.id)
