"""How long it takes to turn what handlers return into bytes."""

import time
from typing import Any

from fastapi import routing

from app.infra import timing

_serialize = routing.serialize_response


async def _measured(**options: Any) -> Any:
    started = time.perf_counter()
    try:
        return await _serialize(**options)
    finally:
        timing.add("serialization", time.perf_counter() - started)


def measure() -> None:
    """Count it towards each request that this process serves.

    Every route calls this one function, whichever router it is declared on, and FastAPI offers no
    other seam between a handler and its response. What handlers make into a response by themselves,
    or send piece by piece, does not come here.
    """
    routing.serialize_response = _measured
