"""What a fresh process imports."""

import subprocess
import sys
from pathlib import Path

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


def imported_by(program: str, where: Path) -> set[str]:
    """The packages that are loaded once `program` has run, in the folder `where`."""
    listing = "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})\n"
    ended = subprocess.run(
        [sys.executable, "-c", program + listing],
        cwd=where,
        env={"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        check=True,
        capture_output=True,
        text=True,
    )
    return set(ended.stdout.splitlines()[-1].split())
