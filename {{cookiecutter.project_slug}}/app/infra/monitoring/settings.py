"""Settings of monitoring, whoever listens."""

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from app.infra.lists import JSON


def _ascending(bounds: list[float]) -> list[float]:
    if any(above <= below for below, above in pairwise(bounds)):
        raise ValueError("each bound has to be above the one before it")
    return bounds


Buckets = Annotated[
    list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(_ascending), *JSON
]


DURATION_BUCKETS = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
]  # fmt: skip


class MonitoringSettings(BaseModel):
    duration_buckets_seconds: Buckets = DURATION_BUCKETS
    """Upper bounds of the buckets that durations are counted in, as JSON."""

    sample_seconds: Annotated[float, Field(gt=0, le=3_600)] = 5.0
    """Seconds between two looks at what does not tell by itself: memory, pools, queues."""
