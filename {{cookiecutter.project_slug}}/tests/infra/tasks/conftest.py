"""Background work as the service does it, with the jobs of the tests."""

from collections.abc import AsyncIterator

import pytest

from app.infra.tasks import Tasks
from app.infra.tasks.working import working
from app.settings import Settings
from tests.task_rooms import open_tasks, with_tasks


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[Tasks]:
    """Tasks that this process performs."""
    async with open_tasks(with_tasks(settings)) as rooms, working(rooms["tasks"], rooms):
        yield rooms["tasks"]
