"""What a cache has done, by the name of what is cached."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass


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
    """Figures by name, and what of them was not yet added to those of other processes."""

    def __init__(self) -> None:
        super().__init__(Figures)
        self._told: defaultdict[str, Figures] = defaultdict(Figures)

    def news(self) -> dict[str, Figures]:
        """What has changed since `tell`, by name."""
        changes = {name: _difference(now, self._told[name]) for name, now in self.items()}
        return {name: change for name, change in changes.items() if change != Figures()}

    def tell(self, news: Mapping[str, Figures]) -> None:
        """Note that `news` were added to those of other processes."""
        for name, change in news.items():
            self._told[name] = _difference(self._told[name], change, sign=-1)


def _difference(these: Figures, those: Figures, sign: int = 1) -> Figures:
    subtracted = asdict(those)
    return Figures(
        **{field: count - sign * subtracted[field] for field, count in asdict(these).items()}
    )
