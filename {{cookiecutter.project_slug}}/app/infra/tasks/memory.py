"""Tasks in a dict: one process, gone when it ends; and the double of a table in tests."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Unavailable
from app.infra.tasks.ledger import Backlog, State, Superseded, Task

_REMEMBERED = 10_000
"""Tasks that are over, at most; the oldest are forgotten first."""

_held_back: ContextVar[list[tuple["MemoryLedger", Task, Callable[[], None]]] | None] = ContextVar(
    "tasks_held_back", default=None
)


class MemoryLedger:
    """A `Ledger` that never waits. No unit of work can take back what it notes."""

    def __init__(self, *, limit: int) -> None:
        """`limit` is the number of tasks that are not over, at most."""
        self._limit = limit
        self._tasks: dict[str, Task] = {}
        self._ids_by_key: dict[tuple[str, str], str] = {}
        self._open = 0

    async def add(self, task: Task, kept: Callable[[], None], *, once: bool = False) -> Task:
        if (known := self._by_key(task)) is not None and (
            once or known.state not in {State.FAILED, State.CANCELLED}
        ):
            return known
        if not task.state.over and self._open >= self._limit:
            raise Unavailable("Too many tasks are waiting; try again later.", retry_after_seconds=5)
        self._open += not task.state.over
        self._tasks[task.id] = task
        if task.key is not None:
            self._ids_by_key[task.name, task.key] = task.id
        if (held_back := _held_back.get()) is None:
            kept()
        else:
            held_back.append((self, task, kept))
        return task

    async def read(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    async def claim(self, task_id: str, now: datetime, look_at: datetime) -> Task | None:
        task = self._tasks.get(task_id)
        if task is None or task.state != State.QUEUED:
            return None
        return self._put(
            replace(
                task,
                state=State.RUNNING,
                attempt=task.attempt + 1,
                started_at=task.started_at or now,
                look_at=look_at,
            )
        )

    async def renew(self, task: Task, look_at: datetime) -> bool:
        return not self._put(replace(self._current(task), look_at=look_at)).cancelling

    async def save(self, task: Task, checkpoint: str | None, done: int, total: int | None) -> None:
        self._put(replace(self._current(task), checkpoint=checkpoint, done=done, total=total))

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
        self._end(
            replace(
                self._current(task),
                state=state,
                finished_at=now,
                look_at=look_at,
                failures=task.failures + (state == State.FAILED),
                result=result,
                reason=reason,
                error=error,
            )
        )

    async def postpone(
        self, task: Task, due_at: datetime, *, failed: bool, error: str | None = None
    ) -> None:
        current = self._current(task)
        self._put(
            replace(
                current,
                state=State.QUEUED,
                due_at=due_at,
                look_at=due_at,
                failures=task.failures + failed,
                error=error or current.error,
            )
        )

    async def cancel(self, task_id: str, now: datetime, look_at: datetime) -> Task | None:
        task = self._tasks.get(task_id)
        if task is None or task.state.over:
            return task
        if task.state == State.RUNNING:
            return self._put(replace(task, cancelling=True))
        return self._end(replace(task, state=State.CANCELLED, finished_at=now, look_at=look_at))

    async def due(
        self, now: datetime, limit: int, again_at: Callable[[int], datetime]
    ) -> list[str]:
        late = self._with(State.QUEUED, now)[:limit]
        for task in late:
            self._put(replace(task, sends=task.sends + 1, look_at=again_at(task.sends)))
        return [task.id for task in late]

    async def release(self, task_ids: Sequence[str], now: datetime) -> None:
        for task_id in task_ids:
            task = self._tasks.get(task_id)
            if task is not None and task.state == State.QUEUED:
                self._put(replace(task, look_at=now))

    async def lapsed(self, now: datetime, limit: int) -> list[Task]:
        return self._with(State.RUNNING, now)[:limit]

    async def forget(self, now: datetime, limit: int) -> int:
        over = [task for task in self._tasks.values() if task.state.over and task.look_at <= now]
        for task in over[:limit]:
            self._forget(task)
        return len(over[:limit])

    async def failed(self, limit: int) -> list[Task]:
        dead = [task for task in self._tasks.values() if task.state == State.FAILED]
        return sorted(dead, key=lambda task: (task.finished_at, task.id), reverse=True)[:limit]

    async def revive(self, task_id: str, now: datetime) -> bool:
        task = self._tasks.get(task_id)
        if task is None or task.state != State.FAILED:
            return False
        self._open += 1
        self._put(
            replace(
                task,
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
        return True

    async def backlog(self) -> list[Backlog]:
        names = sorted({task.name for task in self._tasks.values() if not task.state.over})
        return [self._backlog(name) for name in names]

    def drop(self, task: Task) -> None:
        """Forget a task that nobody was told of."""
        self._open -= 1
        self._forget(task)

    def _backlog(self, name: str) -> Backlog:
        tasks = [task for task in self._tasks.values() if task.name == name]
        queued = [task for task in tasks if task.state == State.QUEUED]
        return Backlog(
            name,
            queued=len(queued),
            running=sum(task.state == State.RUNNING for task in tasks),
            oldest_due_at=min((task.due_at for task in queued), default=None),
        )

    def _by_key(self, task: Task) -> Task | None:
        if task.key is None:
            return None
        return self._tasks.get(self._ids_by_key.get((task.name, task.key), ""))

    def _current(self, task: Task) -> Task:
        current = self._tasks.get(task.id)
        if current is None or current.state != State.RUNNING or current.attempt != task.attempt:
            raise Superseded(task.id)
        return current

    def _with(self, state: State, now: datetime) -> list[Task]:
        found = [
            task for task in self._tasks.values() if task.state == state and task.look_at <= now
        ]
        return sorted(found, key=lambda task: task.look_at)

    def _put(self, task: Task) -> Task:
        self._tasks[task.id] = task
        return task

    def _end(self, task: Task) -> Task:
        self._open -= 1
        del self._tasks[task.id]  # so that the dict is in the order in which they ended
        self._tasks[task.id] = task
        if len(self._tasks) - self._open > _REMEMBERED:
            self._forget(next(each for each in self._tasks.values() if each.state.over))
        return task

    def _forget(self, task: Task) -> None:
        del self._tasks[task.id]
        if task.key is not None and self._ids_by_key.get((task.name, task.key)) == task.id:
            del self._ids_by_key[task.name, task.key]


class HoldBackMiddleware:
    """What a request submits begins when its response does, and only if that is a success."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with _holding_back() as held_back:

            async def send_and_begin(message: Message) -> None:
                if message["type"] == "http.response.start" and message["status"] < 400:
                    while held_back:
                        _ledger, _task, kept = held_back.pop(0)
                        kept()
                await send(message)

            await self._app(scope, receive, send_and_begin)


@contextmanager
def _holding_back() -> Iterator[list[tuple[MemoryLedger, Task, Callable[[], None]]]]:
    held_back: list[tuple[MemoryLedger, Task, Callable[[], None]]] = []
    token = _held_back.set(held_back)
    try:
        yield held_back
    finally:
        _held_back.reset(token)
        for ledger, task, _kept in held_back:
            ledger.drop(task)
