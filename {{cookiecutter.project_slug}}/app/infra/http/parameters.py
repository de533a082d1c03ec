"""What FastAPI finds out about each parameter again at every request, found out once.

Which are lists, which are models, and what they are called in a request.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from fastapi.dependencies import utils

_MEMORY = 4_096

_look = utils.field_annotation_is_sequence  # type: ignore[attr-defined]
_remember = lru_cache(maxsize=_MEMORY)(_look)


def _remembered(annotation: object) -> bool:
    try:
        return bool(_remember(annotation))
    except TypeError:  # one that cannot be remembered
        return bool(_look(annotation))


def _by_field(look: Callable[..., Any]) -> Callable[..., Any]:
    """Remember what `look` says of a field, which has no hash and never changes."""
    known: dict[tuple[int, bool], tuple[object, Any]] = {}

    def remembered(field: Any, *, convert_underscores: bool = False) -> Any:
        key = id(field), convert_underscores
        found = known.get(key)
        # With the field itself, so that its id is not given to another.
        if found is None:
            options = {"convert_underscores": True} if convert_underscores else {}
            found = field, look(field, **options)
            if len(known) < _MEMORY:
                known[key] = found
        return found[1]

    return remembered


_model = _by_field(utils._get_param_model)  # noqa: SLF001
_aliases = _by_field(utils._get_param_aliases)  # noqa: SLF001


def remember() -> None:
    """Do so in this process; FastAPI offers no other seam, as for `serialization.measure`."""
    utils.field_annotation_is_sequence = _remembered  # type: ignore[attr-defined]
    utils._get_param_model = _model  # noqa: SLF001
    utils._get_param_aliases = _aliases  # noqa: SLF001
