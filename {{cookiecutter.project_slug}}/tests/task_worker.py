"""A worker of the jobs of the tests, in a process of its own: `python -m tests.task_worker`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI

from app import bootstrap
from app.infra import logs
from app.infra.tasks.worker_command import run
from app.settings import PREFIX, Settings, load_settings
from app.worker import create_worker
from tests.processes import environment
from tests.task_rooms import of_tasks, open_tasks


def application() -> FastAPI:
    """The worker, as a server starts it."""
    settings = load_settings()
    logs.configure(settings.logs)
    return create_worker(settings, open_rooms=open_tasks)


class WorkerProcess:
    """A worker that a test may kill."""

    def __init__(self, folder: Path, settings: Settings, *command: str) -> None:
        self._command = command
        self._log = folder / "worker.log"
        self._folder = folder
        self._environment = environment(**as_variables(settings))
        self.start()

    def start(self) -> None:
        """Start it, or another one in its place."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Of a group of its own, all of which is killed at once.
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """End it and what it has started, without warning."""
        os.killpg(self.process.pid, 9)
        self.process.wait()


def as_variables(settings: Settings) -> dict[str, str]:
    """The environment in which a process has the settings of a test."""
    rooms = settings.model_dump(mode="json", include={"database", "cache", "sessions", "tasks"})
    variables = {
        f"{PREFIX}{room}__{name}".upper(): value if isinstance(value, str) else json.dumps(value)
        for room, fields in rooms.items()
        for name, value in fields.items()
        if value is not None
    }
    return {**variables, "APP_TASKS__HEALTH_PORT": "0"}


@contextmanager
def worker(
    folder: Path, settings: Settings, *, of_service: bool = False
) -> Iterator[WorkerProcess]:
    """A worker of the jobs of the tests, or of the service's own, started; killed at the end."""
    command = ("app", "worker") if of_service else ("tests.task_worker",)
    started = WorkerProcess(folder, settings, *command)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()


if __name__ == "__main__":
    chosen = load_settings()
    logs.configure(chosen.logs)
    with bootstrap.beside(chosen, worker=True):
        run("tests.task_worker:application", chosen.http, of_tasks(chosen))
