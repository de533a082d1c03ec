"""Price lists over HTTP."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from app.catalog.jobs import import_prices
from app.catalog.price_lists import PriceLists
from app.errors import ServiceError
from app.infra.tasks import Task
from app.infra.tasks.routes import TasksDependency, TaskStatus, status_of

MAX_BODY_BYTES = 100 * 1024 * 1024
"""Of a price list; it is never in memory as a whole, so that it may be larger than other bodies."""

_CSV = "text/csv"
_BODY = {"content": {_CSV: {"schema": {"type": "string"}}}, "required": True}

router = APIRouter(prefix="/products", tags=["catalog"])


class UnsupportedMediaType(ServiceError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


async def _price_lists(request: Request) -> PriceLists:
    price_lists: PriceLists = request.state.price_lists
    return price_lists


PriceListsDependency = Annotated[PriceLists, Depends(_price_lists)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        description="Upload again with the same key, and there is still one import",
    ),
]


@router.post(
    "/import",
    status_code=202,
    max_body_size=MAX_BODY_BYTES,
    openapi_extra={"requestBody": _BODY},
)
async def import_products(
    price_lists: PriceListsDependency,
    tasks: TasksDependency,
    request: Request,
    response: Response,
    content_type: Annotated[str, Header(include_in_schema=False)] = "",
    idempotency_key: IdempotencyKey = None,
) -> TaskStatus:
    """Import a price list: CSV in UTF-8, up to 100 MiB, whose header line names the columns.

    These are sku, name, price, currency and, if you like, description, in any order. Products are
    added, or replaced where their sku is known; what the task results in tells of rows that do not
    fit.
    """
    _refuse_other_than_csv(content_type)

    async def submit(price_list_id: str) -> Task:
        return await tasks.submit(import_prices, key=idempotency_key, price_list_id=price_list_id)

    task = await price_lists.upload(request.stream(), submit)
    response.headers["Location"] = str(request.app.url_path_for("read_task", task_id=task.id))
    return status_of(task)


def _refuse_other_than_csv(content_type: str) -> None:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = {part.partition("=")[2].strip('"') for part in parameters if "charset=" in part}
    if media_type != _CSV or charsets - {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaType("Send the list as CSV in UTF-8, with Content-Type: text/csv.")
