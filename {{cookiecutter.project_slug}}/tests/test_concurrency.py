"""Many requests at once, on whatever the service is made of; and what would hold them all up."""

import asyncio
import time

import pytest
from blockbuster import BlockingError, blockbuster_ctx
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.about import read_about
from tests.recorded import recorded
from tests.serving import running

REQUESTS = 500


class TestManyAtOnce:
    async def test_all_are_served(self, app: FastAPI) -> None:
        """500 that are in flight together are answered, each with an id of its own."""
        arrived = 0
        everyone = asyncio.Event()

        @app.get("/meet")
        async def meet() -> str:
            nonlocal arrived
            arrived += 1
            if arrived == REQUESTS:
                everyone.set()
            async with asyncio.timeout(30):
                await everyone.wait()
            return "met"

        async with running(app) as client:
            answers = await asyncio.gather(*(client.get("/meet") for _ in range(REQUESTS)))
        assert [answer.status_code for answer in answers] == [200] * REQUESTS
        assert len({answer.headers["x-request-id"] for answer in answers}) == REQUESTS

    async def test_health_answers_in_between(self, client: AsyncClient) -> None:
        """Probes are served among other requests."""
        answers = await asyncio.gather(*(client.get("/health/live") for _ in range(REQUESTS)))
        assert all(answer.status_code == 200 for answer in answers)


class TestBlocking:
    async def test_a_handler_that_blocks_fails(self, app: FastAPI) -> None:
        """The detector that every test runs under sees a handler that sleeps on the loop."""

        @app.get("/block")
        async def block() -> None:
            time.sleep(0.001)  # noqa: ASYNC251  # what is to be caught

        async with running(app) as client:
            with blockbuster_ctx("tests"), recorded() as log:
                response = await client.get("/block")
        assert response.status_code == 500
        [line] = log.of("request failed")
        assert BlockingError.__name__ in line["exception"]

    async def test_the_detector_is_on(self, client: AsyncClient) -> None:
        """Wherever a client of the service is: code under `app` cannot read a file on the loop."""
        assert (await client.get("/health/live")).status_code == 200
        with pytest.raises(BlockingError):
            read_about()
