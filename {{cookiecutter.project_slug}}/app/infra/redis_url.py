"""Where a Redis is."""

from typing import Annotated

from pydantic import AfterValidator
from redis.asyncio.connection import parse_url


def _of_redis(url: str) -> str:
    try:
        parse_url(url)
    except ValueError:
        raise ValueError("it is no URL of Redis; write it like redis://127.0.0.1:6379/0") from None
    return url


RedisUrl = Annotated[str, AfterValidator(_of_redis)]
