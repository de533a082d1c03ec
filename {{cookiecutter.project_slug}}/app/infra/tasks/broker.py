"""What every queue outside of the process has in common."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from pydantic import Field

from app.errors import StartupError, Unavailable
from app.infra.tasks.settings import Seconds, TaskSettings

logger = structlog.get_logger()

_PAUSE_SECONDS = 1.0


class BrokerSettings(TaskSettings):
    url: str
    """Where the queue is."""

    prefix: str = "app"
    """Begins the name of everything in it, so that several services can share a server."""

    timeout_seconds: Seconds = 2.0
    """Seconds in which the server of the queue must answer."""

    start_timeout_seconds: Seconds = 30.0
    """Seconds that a process waits, when it starts, for that server to answer."""

    health_port: Annotated[int, Field(ge=0, le=65_535)] = 8001
    """Port at which a worker says whether it is alive; 0 takes a free one."""


def out_of_reach(error: BaseException) -> Unavailable:
    """What a submitter is told, whatever the server did or did not say."""
    logger.warning("the queue does not answer", cause=described(error))
    return Unavailable("The queue of tasks does not answer; try again shortly.")


async def patiently(
    connect: Callable[[], Awaitable[None]],
    settings: BrokerSettings,
    errors: tuple[type[Exception], ...],
) -> None:
    """Connect, and again until it goes well.

    Raises:
        StartupError: it did not within the time that settings give it.
    """
    deadline = time.monotonic() + settings.start_timeout_seconds
    while True:
        try:
            return await connect()
        except errors as error:
            cause = described(error)
            if time.monotonic() + _PAUSE_SECONDS > deadline:
                raise StartupError(
                    f"The queue of tasks does not answer ({cause});"
                    " start its server or correct APP_TASKS__URL."
                ) from error
            logger.warning("the queue does not answer yet; waiting for it", cause=cause)
        await asyncio.sleep(_PAUSE_SECONDS)


def described(error: BaseException) -> str:
    """What went wrong, in one line, and without the password in it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split()) or type(error).__name__
