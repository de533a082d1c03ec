"""Uvicorn as the service runs it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest
import uvicorn
from fastapi import FastAPI

from app.infra.http.drain import Drain
from app.infra.http.server import DrainingServer

uvloop = pytest.importorskip("uvloop")  # which Windows does not have

CROWD = 10


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Drain]]:
    yield {"drain": Drain()}


async def accepted_at_once() -> int:
    """How many of a crowd that has connected are clients after a turn of the loop."""
    config = uvicorn.Config(FastAPI(lifespan=lifespan), port=0, log_config=None)
    server = DrainingServer(config, drain_seconds=0)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        [address] = {each.getsockname() for each in server.servers[0].sockets}
        with ExitStack() as stack:
            for _ in range(CROWD):
                stack.enter_context(socket.create_connection(address))
            # Another turn begins with what is ready then, and ends with what is called soon.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return len(server.server_state.connections)
    finally:
        await server.shutdown()


def test_a_crowd_is_let_in_at_once() -> None:
    """Who has connected does not wait for a turn of the loop for everybody before."""
    assert uvloop.run(accepted_at_once()) == CROWD
