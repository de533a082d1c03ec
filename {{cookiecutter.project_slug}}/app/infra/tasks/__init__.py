"""Background work: jobs, and what becomes of them.

A slice writes jobs as plain async functions in its `jobs.py`; `Tasks.submit` has them run, in this
process or in a worker. What a task is stands in a ledger; the queue carries its id.
"""

from app.infra.tasks.jobs import Job
from app.infra.tasks.ledger import State, Superseded, Task
from app.infra.tasks.run import Run
from app.infra.tasks.settings import TaskSettings
from app.infra.tasks.tasks import Tasks

__all__ = ["Job", "Run", "State", "Superseded", "Task", "TaskSettings", "Tasks"]
