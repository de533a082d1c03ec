"""Settings that are lists."""

import json
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('write a list as JSON, as in ["a", "b"]') from None


# Decoded here, since pydantic-settings would not say which of the variables is malformed.
JSON = (NoDecode, BeforeValidator(_decoded))
Texts = Annotated[list[str], *JSON]
