"""Keyset pages: cursors that cannot be forged, and the shape of a page.

A page is found by the sort key and id of the last row before it, so that page 1,000 costs what page
1 costs, and rows that come or go in between shift nothing
(https://use-the-index-luke.com/no-offset).
"""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, SecretStr
from pydantic_core import to_json

from app.errors import BadRequest

Item = TypeVar("Item")

_SECRET_CHARACTERS = 16


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret) < _SECRET_CHARACTERS:
        raise ValueError(f"it must have at least {_SECRET_CHARACTERS} characters")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_long_enough)]

_SIGNATURE_BYTES = 16


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    next_cursor: str | None
    """Pass it as `cursor` for the next page; null on the last one."""


class Cursors:
    """Makes cursors and takes them back, each for one listing and one order only."""

    def __init__(self, secret: str) -> None:
        """`secret` signs the cursors; processes that share it take each other's."""
        # BLAKE2 takes keys of at most 64 bytes (RFC 7693).
        self._key = hashlib.sha256(secret.encode()).digest()

    def encode(self, order: str, sort_key: str | int, row_id: int) -> str:
        """The cursor behind a row of the listing that is named by `order`."""
        content = to_json([sort_key, row_id])
        return base64.urlsafe_b64encode(self._sign(order, content) + content).decode().rstrip("=")

    def decode(self, order: str, cursor: str) -> tuple[str | int, int]:
        """The sort key and the id of a cursor.

        Raises:
            BadRequest: the cursor was not made here, or for another order.
        """
        try:
            signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            signed = b""
        signature, content = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(order, content)):
            raise BadRequest(
                "The cursor does not belong to this listing; take next_cursor from its last page,"
                " or leave it out to begin again."
            )
        sort_key, row_id = json.loads(content)
        return sort_key, row_id

    def _sign(self, order: str, content: bytes) -> bytes:
        message = order.encode() + b"\0" + content
        return hashlib.blake2b(message, digest_size=_SIGNATURE_BYTES, key=self._key).digest()
