"""The processes in which Celery performs tasks: a worker starts `python -m app.worker_pool`."""

from app import bootstrap
from app.infra import garbage, logs
from app.infra.tasks import celery_pool
from app.settings import load_settings

if __name__ == "__main__":
    settings = load_settings()
    logs.configure(settings.logs)
    garbage.settle()
    celery_pool.run(lambda: bootstrap.open_rooms(settings))
