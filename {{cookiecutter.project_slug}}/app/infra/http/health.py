"""Is the process alive, and can it serve?"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.infra.http.drain import Drain

logger = structlog.get_logger()

Check = Callable[[], Awaitable[None]]
"""Asks one dependency whether it answers; raises whatever it likes when it does not."""


class Health(BaseModel):
    status: Literal["alive", "ready", "unready", "draining"]
    checks: dict[str, Literal["ok", "failed", "timeout"]] = {}


_ALIVE = Health(status="alive")


def router(*, drain: Drain, timeout_seconds: float) -> APIRouter:
    """`/health/live` and `/health/ready`.

    Readiness asks every check in `request.state.checks` at once and gives each `timeout_seconds`.
    The answer names the checks; why one failed stands in the log alone.
    """
    health = APIRouter(prefix="/health", tags=["health"])

    @health.get("/live")
    async def live() -> Health:
        """The process runs; it asks nothing else."""
        return _ALIVE

    @health.get("/ready", responses={503: {"model": Health}})
    async def ready(request: Request, response: Response) -> Health:
        """Every dependency answers and the service is not on its way out."""
        if drain.begun:
            response.status_code = 503
            return Health(status="draining")
        checks: Mapping[str, Check] = getattr(request.state, "checks", {})
        async with asyncio.TaskGroup() as group:
            asked = {
                name: group.create_task(_ask(name, check, timeout_seconds))
                for name, check in checks.items()
            }
        answers = {name: task.result() for name, task in asked.items()}
        if all(answer == "ok" for answer in answers.values()):
            return Health(status="ready", checks=answers)
        response.status_code = 503
        return Health(status="unready", checks=answers)

    return health


async def _ask(
    name: str, check: Check, timeout_seconds: float
) -> Literal["ok", "failed", "timeout"]:
    try:
        async with asyncio.timeout(timeout_seconds):
            await check()
    except TimeoutError:
        logger.warning("health check timed out", check=name, timeout_seconds=timeout_seconds)
        return "timeout"
    except Exception:
        logger.warning("health check failed", check=name, exc_info=True)
        return "failed"
    return "ok"
