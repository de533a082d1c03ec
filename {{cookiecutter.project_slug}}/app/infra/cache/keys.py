"""Keys that are the same in every process, for the same arguments."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from uuid import UUID

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json

_DIGEST_BYTES = 16
_SHORT_CHARACTERS = 64
_BY_TEXT = (str, Decimal, date, time, timedelta, UUID, complex, float)


def digest(value: object) -> str:
    """32 hexadecimal digits, which differ for values that differ in type or in content.

    Order counts in sequences, not in mappings and sets. Numbers, text, bytes, dates, UUIDs, enums,
    dataclasses, pydantic models and collections of them have one.

    Raises:
        TypeError: `value` is, or contains, something else.
    """
    plain = _plain(value)
    try:
        text = to_json(plain)
    except ValueError:  # half of a pair of surrogates, which UTF-8 cannot hold
        text = json.dumps(plain).encode()
    return blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()


def digest_of(arguments: Mapping[str, object]) -> str:
    """`digest` of arguments by their names, which remembers those of numbers and short texts."""
    values = tuple(arguments.values())
    for value in values:
        if type(value) is not int and (type(value) is not str or len(value) > _SHORT_CHARACTERS):
            return digest(arguments)
    return _remembered(tuple(arguments), *values)


@lru_cache(maxsize=4_096)
def _remembered(names: Sequence[str], *values: object) -> str:
    return digest(dict(zip(names, values, strict=True)))


def schema_digest(adapter: TypeAdapter[Any]) -> str:
    """Eight digits, which change with the shape of what `adapter` writes."""
    return digest(adapter.json_schema(mode="serialization"))[:8]


def _plain(value: object) -> Any:
    """As JSON, in which lists begin with the type that they stand for."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if isinstance(value, Mapping):
        return ["mapping", _pairs(value)]
    if isinstance(value, Enum):
        return [_name(kind), value.name]
    if isinstance(value, _BY_TEXT):
        return [_name(kind), str(value)]
    if isinstance(value, bytes | bytearray):
        return ["bytes", value.hex()]
    if isinstance(value, BaseModel):
        return [_name(kind), _pairs(dict(value))]
    if is_dataclass(value) and not isinstance(value, type):
        content = {field.name: getattr(value, field.name) for field in fields(value)}
        return [_name(kind), _pairs(content)]
    if isinstance(value, Set):
        return ["set", sorted(json.dumps(_plain(item)) for item in value)]
    if isinstance(value, Sequence):
        return [_name(kind), *map(_plain, value)]
    raise TypeError(
        f"A {_name(kind)} cannot be part of a cache key; name its parameter in `ignore`."
    )


def _pairs(content: Mapping[Any, Any]) -> list[Any]:
    pairs = [[_plain(key), _plain(value)] for key, value in content.items()]
    return sorted(pairs, key=lambda pair: json.dumps(pair[0])) if len(pairs) > 1 else pairs


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
