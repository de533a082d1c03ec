"""What a cache has done, by the name of what is cached."""

from collections import defaultdict
from dataclasses import dataclass


@dataclass(slots=True)
class Figures:
    """Counts since the start of the process, for one name of what is cached."""

    hits: int = 0
    """Answers that were fresh."""
    stale_hits: int = 0
    """Answers that were too old, given since there was no newer one."""
    misses: int = 0
    """Answers that somebody had to wait for."""
    loads: int = 0
    load_seconds: float = 0.0
    """Seconds that all loads took together."""
    errors: int = 0
    """Times that the cache did not answer, or held what does not decode."""


class Ledger(defaultdict[str, Figures]):
    """Figures by name."""

    def __init__(self) -> None:
        super().__init__(Figures)
