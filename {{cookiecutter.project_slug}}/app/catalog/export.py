"""The whole catalogue as a stream of rows."""

import csv
import io
from collections.abc import AsyncIterator, Iterable

from fastapi.responses import StreamingResponse

from app.catalog.schemas import PRODUCT_FIELDS, Product
from app.catalog.service import Catalog
from app.infra.http.accept import negotiate

NDJSON = "application/x-ndjson"
CSV = "text/csv"


def stream(catalog: Catalog, accept: str | None) -> StreamingResponse:
    """Every product in the format that the client likes best; raises `NotAcceptable`."""
    media_type = negotiate(accept, [NDJSON, CSV])
    rows = _as_csv(catalog) if media_type == CSV else _as_ndjson(catalog)
    return StreamingResponse(rows, media_type=media_type, headers={"Vary": "Accept"})


async def _as_ndjson(catalog: Catalog) -> AsyncIterator[bytes]:
    async for batch in catalog.export():
        yield "".join(
            product.model_dump_json(exclude_unset=True) + "\n" for product in batch
        ).encode()


async def _as_csv(catalog: Catalog) -> AsyncIterator[bytes]:
    """RFC 4180, with a header line."""
    yield _csv([PRODUCT_FIELDS])
    async for batch in catalog.export():
        yield _csv(_values(product) for product in batch)


def _values(product: Product) -> list[str]:
    values = product.model_dump(mode="json")
    return [str(values[name]) for name in PRODUCT_FIELDS]


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()
