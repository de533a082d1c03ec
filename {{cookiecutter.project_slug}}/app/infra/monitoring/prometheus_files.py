"""The files in which processes keep their figures: those of the living, and what the dead left.

A process holds a lock on a file of its own from its start on, and the system lets go of it however
the process ends: who is paused lives, and who has got the number of a dead one is somebody else.
What the dead have counted is added up in one file for each kind, so that it takes no longer to look
at the figures however many have died, and their gauges are forgotten: they have nothing in flight.

Whoever adds up may be killed as well. The new sum is made beside the old one, and appears under the
name of the dead process by being renamed: from then on it stands for the old one and for what that
process has counted. Whoever comes next goes on from there.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

COUNTED = ("counter", "histogram")
"""Kinds of files whose amounts are added up."""


PREFIX = "metrics-"
"""How the names of directories begin that a service makes for its files."""

_OWNER = "owner"
_SUM = ".sum"


def make_directory() -> Path:
    """A new directory, which is this process's as long as it lives.

    Those that nobody lives in any more are removed: who is killed leaves one behind.
    """
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    owner = os.open(directory / _OWNER, os.O_RDWR | os.O_CREAT)
    _lock(owner, wait=True)
    for other in directory.parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else removes it, or it is somebody else's
            if other.lstat().st_uid == directory.stat().st_uid and not _is_lived_in(other):
                shutil.rmtree(other)
    return directory


def _is_lived_in(directory: Path) -> bool:
    """Whether its owner lives, or a process that the owner started; so does who is about to."""
    owner = directory / _OWNER
    return not owner.exists() or any(map(_holds, [owner, *directory.glob("*.alive")]))


@cache
def live(directory: Path, pid: int) -> int:
    """Show that this process, whose number is `pid`, is alive: the file is open until it ends."""
    with turn(directory):
        # The files of a dead process with this number may be in a sum already.
        _settle(directory)
        sign = os.open(directory / f"{pid}.alive", os.O_RDWR | os.O_CREAT)
        _lock(sign, wait=True)
    return sign


@contextmanager
def turn(directory: Path) -> Iterator[None]:
    """Keep others from looking at the files, and from tidying them up, during the block."""
    with (directory / "turn").open("ab") as file:
        _lock(file.fileno(), wait=True)
        yield


def tidy(directory: Path) -> list[str]:
    """The files that count now; call it, and read them, within a `turn`."""
    _settle(directory)
    for sign in directory.glob("*.alive"):
        if not _holds(sign):
            _bury(directory, sign.stem)
            sign.unlink()
    # One that is empty was made this moment.
    return [str(path) for path in directory.glob("*.db") if path.stat().st_size]


def _bury(directory: Path, pid: str) -> None:
    for kind in COUNTED:
        path = directory / f"{kind}_{pid}.db"
        if path.exists() and path.stat().st_size:
            _add(path, directory / f"{kind}_dead.db").replace(path.with_suffix(_SUM))
            _settle(directory)
    for path in directory.glob(f"*_{pid}.db"):
        path.unlink()


def _add(path: Path, dead: Path) -> Path:
    """A new file with the sum of both."""
    from prometheus_client import mmap_dict

    amounts: Any = mmap_dict.MmapedDict
    new = dead.with_suffix(".new")
    new.unlink(missing_ok=True)
    if dead.exists():
        shutil.copyfile(dead, new)
    total = amounts(str(new))
    for key, amount, _, _ in amounts.read_all_values_from_file(str(path)):
        total.write_value(key, total.read_value(key)[0] + amount, 0.0)
    total.close()
    return new


def _settle(directory: Path) -> None:
    """Put a new sum in the place of what it stands for, if there is one."""
    for new in directory.glob(f"*{_SUM}"):
        kind, _, _ = new.stem.partition("_")
        new.with_suffix(".db").unlink(missing_ok=True)
        new.replace(directory / f"{kind}_dead.db")


def _holds(sign: Path) -> bool:
    """Whether the process whose sign of life this is holds its lock."""
    with sign.open("ab") as file:
        try:
            _lock(file.fileno(), wait=False)
        except OSError:
            return True
    return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, *, wait: bool) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int, *, wait: bool) -> None:
        """Lock a file for as long as it is open, or raise `OSError` where somebody else has it."""
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
