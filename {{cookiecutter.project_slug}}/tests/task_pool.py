"""The processes in which Celery performs the jobs of the tests: `python -m tests.task_pool`."""

from app.infra import logs
from app.infra.tasks import celery_pool
from app.settings import load_settings
from tests.pool_jobs import POOL_JOBS
from tests.task_rooms import open_tasks

if __name__ == "__main__":
    settings = load_settings()
    logs.configure(settings.logs)
    celery_pool.run(lambda: open_tasks(settings, POOL_JOBS))
