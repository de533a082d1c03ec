"""Which parameters are lists, found out once.

FastAPI looks at the annotation of each parameter again at every request, several times.
"""

from functools import lru_cache

from fastapi.dependencies import utils

_look = utils.field_annotation_is_sequence  # type: ignore[attr-defined]
_remember = lru_cache(maxsize=4_096)(_look)


def _remembered(annotation: object) -> bool:
    try:
        return bool(_remember(annotation))
    except TypeError:  # one that cannot be remembered
        return bool(_look(annotation))


def remember() -> None:
    """Do so in this process; FastAPI offers no other seam, as for `serialization.measure`."""
    utils.field_annotation_is_sequence = _remembered  # type: ignore[attr-defined]
