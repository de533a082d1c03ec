"""Background work as the service does it, with the jobs of the tests."""

from collections.abc import AsyncIterator, Iterator

import pytest

from app.infra.tasks import Tasks
from app.settings import Settings
from tests.task_rooms import open_tasks, performing, with_tasks


@pytest.fixture(scope="module")
def worked(
    shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Settings whose tasks are performed, by a worker where there are any."""
    settings = with_tasks(shared_settings)
    with performing(settings, tmp_path_factory.mktemp("worker")):
        yield settings


@pytest.fixture
async def tasks(worked: Settings) -> AsyncIterator[Tasks]:
    """Tasks that are performed."""
    async with open_tasks(worked, works=True) as rooms:
        yield rooms["tasks"]
