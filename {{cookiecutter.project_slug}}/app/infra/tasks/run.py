"""What a job is given to work with."""

from collections.abc import Mapping
from typing import Any, Protocol


class Run(Protocol):
    """One attempt at a task."""

    @property
    def task_id(self) -> str:
        """The same at each attempt."""

    @property
    def attempt(self) -> int:
        """Counts from 1."""

    @property
    def rooms(self) -> Mapping[str, Any]:
        """What handlers find as `request.state`."""

    @property
    def checkpoint(self) -> Any:
        """What an earlier attempt saved last; None when there was none."""

    async def save(
        self, checkpoint: Any = None, *, done: int = 0, total: int | None = None
    ) -> None:
        """Keep how far the job has come, `done` of `total`, and `checkpoint` for the next attempt.

        Within a unit of work it is part of it: what an attempt has changed and where the next one
        goes on are kept together or not at all.

        Raises:
            Superseded: another attempt has begun, since this one was thought dead.
        """
