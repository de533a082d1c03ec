"""A Redis that is a queue: a part of one that is there, and one to harm."""

import uuid
from collections.abc import Iterator

import pytest

from tests.redis_servers import TEST_REDIS_URL as TEST_BROKER_URL
from tests.redis_servers import PrivateServer, missing_binaries
from tests.services import skip_or_fail

__all__ = ["TEST_BROKER_URL", "new_prefix", "private_broker"]


def new_prefix() -> str:
    """Begins the names that a test uses in the server."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def private_broker(pytestconfig: pytest.Config) -> Iterator[PrivateServer]:
    """A server of the test's own, which loses nothing when it is restarted."""
    if (reason := missing_binaries()) is not None:
        skip_or_fail(pytestconfig, reason)
    server = PrivateServer(appendonly="yes")
    try:
        server.start()
        yield server
    finally:
        server.close()
