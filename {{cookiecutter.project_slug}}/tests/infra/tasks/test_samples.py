"""How much work waits, and since when."""

import time

from app.infra.monitoring import listening
from app.infra.tasks.samples import TaskSamples
from tests import task_jobs
from tests.figures import Figures
from tests.infra.tasks.doubles import open_double


class TestBacklog:
    async def test_is_told(self) -> None:
        """Of each job, those that wait and the age of the oldest; zero when there are none."""
        async with open_double() as double:
            figures = Figures()
            samples = TaskSamples(double.tasks)
            task = await double.tasks.submit(task_jobs.add, a=1)
            await double.tasks.submit(task_jobs.add, a=2)
            async with listening(figures):
                await samples.take()
                assert figures.last("tasks_queued", task.name) == 2
                age_seconds = figures.last("tasks_oldest_age_seconds", task.name)
                since_start = time.time() - double.clock.now.timestamp()
                assert age_seconds is not None
                assert 0 <= since_start - age_seconds < 60
                for _ in range(2):
                    await double.performer.perform(task.id)
                await samples.take()
                assert figures.last("tasks_queued", task.name) == 1
                idle = {name for (name,) in figures.series("tasks_queued")} - {task.name}
                assert idle
                assert {figures.last("tasks_queued", name) for name in idle} == {0}
