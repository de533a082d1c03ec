"""What the jobs of this process have done, by name."""

from collections import defaultdict
from dataclasses import dataclass


@dataclass(slots=True)
class Figures:
    """Counts since the start of the process, for one job."""

    started: int = 0
    """Attempts."""
    succeeded: int = 0
    failed: int = 0
    """Attempts that raised, or took too long."""
    retried: int = 0
    """Of these, those that another attempt follows."""
    dead: int = 0
    """Tasks that were given up."""
    cancelled: int = 0
    interrupted: int = 0
    """Attempts that the end of the process cut short; they begin again."""
    seconds: float = 0.0
    """Seconds that all attempts took together."""


class JobFigures(defaultdict[str, Figures]):
    """Figures by the name of the job."""

    def __init__(self) -> None:
        super().__init__(Figures)
