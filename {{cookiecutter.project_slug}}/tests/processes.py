"""The service in processes of its own."""

import os
import subprocess
import sys
from pathlib import Path

from app.settings import PREFIX

ROOT = Path(__file__).parents[1]

SERVING = """
import asyncio
from app.main import create_app
from app.settings import Settings

async def start():
    app = create_app(Settings())
    async with app.router.lifespan_context(app):
        pass

asyncio.run(start())
"""


def environment(**settings: str) -> dict[str, str]:
    """The variables of a process that finds `app` wherever it runs."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **settings}


def run(where: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`python -m app` with a command that ends by itself, in the folder `where`."""
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        check=False,
        cwd=where,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def imported_by(program: str, where: Path) -> set[str]:
    """The packages that are loaded once `program` has run, in the folder `where`."""
    listing = "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})\n"
    settings = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    ended = subprocess.run(
        [sys.executable, "-c", program + listing],
        cwd=where,
        # Nothing of the test run's own, whose tools would be imported along.
        env={"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **settings},
        check=True,
        capture_output=True,
        text=True,
    )
    return set(ended.stdout.splitlines()[-1].split())
