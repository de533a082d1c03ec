"""What can be a job."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.tasks import Job, Run
from tests import task_jobs


async def positional(run: Run, number: int, /) -> None: ...


async def several(run: Run, *numbers: int) -> None: ...


async def named(run: Run, **numbers: int) -> None: ...


async def optioned(run: Run, key: str) -> None: ...


def plain(run: Run) -> None: ...


@pytest.mark.parametrize("function", [positional, several, named, optioned, plain])
def test_refused(function: Any) -> None:
    """What could not be submitted, or would never be awaited."""
    with pytest.raises(TypeError, match=f"test_jobs.{function.__name__} "):
        Job(function)


def test_name() -> None:
    """Like that of the function, without what all of them have in common."""
    assert Job(task_jobs.add).name == "tests.task_jobs.add"
    assert Job(task_jobs.tick).name == "tests.task_jobs.tick"


@given(failures=st.integers(1, 10_000))
def test_backoff(failures: int) -> None:
    """It doubles up to its maximum, and is shortened by half at most."""
    job = Job(task_jobs.add, backoff_seconds=2, backoff_maximum_seconds=60)
    longest = min(60.0, 2.0 * 2 ** min(failures - 1, 10))
    seconds = job.backoff(failures) / timedelta(seconds=1)
    assert longest / 2 <= seconds <= longest


@given(a=st.integers(-(2**63), 2**63), b=st.integers(-(2**63), 2**63))
def test_arguments(a: int, b: int) -> None:
    job = Job(task_jobs.add)
    assert job.unpack(job.pack({"a": a, "b": b})) == {"a": a, "b": b}


def test_default_arguments() -> None:
    job = Job(task_jobs.add)
    assert job.unpack(job.pack({"a": 1})) == {"a": 1, "b": 1}
