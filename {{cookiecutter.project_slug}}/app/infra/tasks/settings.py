"""Settings of background work, however it is queued."""

from typing import Annotated

from pydantic import BaseModel, Field

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Days = Annotated[float, Field(gt=0, le=366 * 86_400)]


class TaskSettings(BaseModel):
    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 10
    """Number of jobs that one process runs at once."""

    stop_timeout_seconds: Seconds = 10.0
    """Seconds that running jobs have to finish after SIGTERM; then they begin again elsewhere."""

    lease_seconds: Annotated[float, Field(ge=0.5, le=86_400)] = 30.0
    """Seconds after which a job begins again whose process has died, or has hung."""

    sweep_seconds: Seconds = 1.0
    """Seconds between two looks for tasks that are due, lost or over."""

    resend_seconds: Seconds = 30.0
    """Seconds after which a task that nobody has begun is sent again, twice as many each time."""

    result_ttl_seconds: Days = 86_400.0
    """Seconds that a finished task, its result and its idempotency key are remembered."""

    dead_ttl_seconds: Days = 30 * 86_400.0
    """Seconds that a failed task is remembered, and can be run again."""
