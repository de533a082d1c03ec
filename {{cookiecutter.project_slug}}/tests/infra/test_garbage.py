"""What the garbage collector looks at while requests are served."""

import subprocess
import sys
from pathlib import Path

from tests.processes import environment

MADE = """
import gc
from app.main import from_environment
looks = sum(each["collections"] for each in gc.get_stats())
app = from_environment()
print(gc.get_freeze_count(), gc.get_threshold()[0], looks)
"""


def test_what_was_there_before_is_left_alone(tmp_path: Path) -> None:
    """Modules above all; and what is made meanwhile, by imports too, is looked at less often."""
    told = subprocess.run(
        [sys.executable, "-c", MADE],
        cwd=tmp_path,
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert int(told[0]) > 10_000
    assert int(told[1]) == 2_000
    assert int(told[2]) < 100
