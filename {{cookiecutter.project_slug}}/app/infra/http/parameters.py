"""What FastAPI finds out about each parameter again at every request, found out once.

Which are lists, which are models, and what they are called in a request.
"""

from collections.abc import Callable
from typing import Any

from fastapi.dependencies import utils

_MEMORY = 4_096


def _remembering(look: Callable[..., Any]) -> Callable[..., Any]:
    """Remember what `look` says of a field or of its annotation, which never change.

    By identity: fields have no hash, and that of an annotation takes longer than anything else.
    """
    known: dict[tuple[int, bool], tuple[object, Any]] = {}

    def remembered(what: Any, *, convert_underscores: bool = False) -> Any:
        key = id(what), convert_underscores
        found = known.get(key)
        # With the thing itself, so that its id is not given to another.
        if found is None:
            options = {"convert_underscores": True} if convert_underscores else {}
            found = what, look(what, **options)
            if len(known) < _MEMORY:
                known[key] = found
        return found[1]

    return remembered


_is_sequence = _remembering(utils.field_annotation_is_sequence)  # type: ignore[attr-defined]
_model = _remembering(utils._get_param_model)  # noqa: SLF001
_aliases = _remembering(utils._get_param_aliases)  # noqa: SLF001


def remember() -> None:
    """Do so in this process; FastAPI offers no other seam, as for `serialization.measure`."""
    utils.field_annotation_is_sequence = _is_sequence  # type: ignore[attr-defined]
    utils._get_param_model = _model  # noqa: SLF001
    utils._get_param_aliases = _aliases  # noqa: SLF001
