"""Units of work that are repeated when somebody was in their way."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from app.errors import TryAgain

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Seconds before each repetition, at most. The first is at once: mostly the connection was dead.
_PAUSES_SECONDS = (0.0, 0.05, 0.25)


def unit_of_work(
    method: Callable[Arguments, Coroutine[Any, Any, Result]],
) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """Repeat `method`, up to three times, when it raises `TryAgain`.

    It may change nothing but what its one unit of work undoes. Pauses grow, and are random, so that
    two that collided do not collide again.

    Raises:
        TryAgain: that is how the last repetition ended too.
    """

    @wraps(method)
    async def repeated(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        for pause_seconds in _PAUSES_SECONDS:
            try:
                return await method(*args, **kwargs)
            except TryAgain:
                await asyncio.sleep(random.uniform(0, pause_seconds))  # noqa: S311
        return await method(*args, **kwargs)

    return repeated
