"""A job as a part of the trace in which it was asked for."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, Request

from app import bootstrap
from app.infra.monitoring import listening
from app.infra.tasks.performer import Performer
from app.infra.tasks.working import sweep
from app.main import create_app
from app.settings import Settings
from tests import task_jobs
from tests.infra.monitoring.sending import sending_to
from tests.otlp_receiver import Receiver, receiving
from tests.recorded import recorded
from tests.serving import running
from tests.task_rooms import open_tasks, with_tasks

probe = APIRouter(prefix="/probe")

ARGUMENTS: dict[str, dict[str, Any]] = {"add": {"a": 1}, "refuse": {"detail": "It is gone."}}


@probe.post("/{name}")
async def submit(request: Request, name: str) -> str:
    job = getattr(task_jobs, name)
    task = await request.state.tasks.submit(job, **ARGUMENTS.get(name, {}))
    return str(task.id)


@asynccontextmanager
async def open_rooms(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    async with listening(*bootstrap.make_recorders(settings)), open_tasks(settings) as rooms:
        yield rooms


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def told(collector: Receiver, settings: Settings) -> Settings:
    return sending_to(collector, with_tasks(settings))


async def perform(settings: Settings, name: str) -> None:
    """Submit a job in a request, and perform it when that is over."""
    kept: dict[str, Any] = {}

    @asynccontextmanager
    async def open_and_keep(settings: Settings) -> AsyncIterator[dict[str, Any]]:
        async with open_rooms(settings) as rooms:
            kept.update(rooms)
            yield rooms

    app = create_app(settings, open_rooms=open_and_keep)
    app.include_router(probe)
    async with running(app) as client:
        answer = await client.post(f"/probe/{name}")
        assert answer.status_code == 200
        await performer(kept).perform(answer.json())


def performer(rooms: dict[str, Any]) -> Performer:
    tasks = rooms["tasks"]
    return Performer(tasks.ledger, tasks.jobs, tasks.settings, rooms)


class TestJob:
    async def test_is_a_part(self, collector: Receiver, told: Settings) -> None:
        """Of the submission, which is one of the request: a trace from here to there."""
        with recorded() as log:
            await perform(told, "add")
        [request] = collector.named("POST /probe/{name}")
        [submission] = collector.named("submit tests.task_jobs.add")
        [job] = collector.named("tests.task_jobs.add")
        assert submission.parent_id == request.span_id
        assert job.parent_id == submission.span_id
        assert job.trace_id == request.trace_id
        [line] = log.of("job succeeded")
        assert (line["trace_id"], line["span_id"]) == (job.trace_id, job.span_id)

    async def test_fails(self, collector: Receiver, told: Settings) -> None:
        """It says with what, and not with which words."""
        with recorded():
            await perform(told, "crash")
        [job] = collector.named("tests.task_jobs.crash")
        assert job.failed
        assert job.attributes["error.type"] == "RuntimeError"
        assert "1234" not in str(job)

    async def test_fails_as_foreseen(self, collector: Receiver, told: Settings) -> None:
        """Nobody has to look at it, and yet it has failed."""
        with recorded():
            await perform(told, "refuse")
        [job] = collector.named("tests.task_jobs.refuse")
        assert job.failed
        assert job.attributes["error.type"] == "NotFound"

    async def test_not_sampled(self, collector: Receiver, settings: Settings) -> None:
        """What was not kept at its beginning is not kept at its end."""
        told = sending_to(collector, with_tasks(settings), sampling_ratio=0)
        await perform(told, "add")
        assert not collector.spans
        assert collector.points("task_attempts_total")


class TestSweep:
    async def test_is_no_trace(self, collector: Receiver, told: Settings) -> None:
        """Whatever it asks every second."""
        async with open_rooms(told) as rooms:
            await sweep(rooms["tasks"], performer(rooms))
        assert not collector.spans
