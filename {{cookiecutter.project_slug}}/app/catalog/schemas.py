"""Products and reviews as they are on the wire."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from app.infra.http.pages import Page

MAX_ID = 2**63 - 1
MAX_PAGE = 100
MAX_BULK = 1_000
LATEST_REVIEWS = 3


def _without_nul(text: str) -> str:
    # Not every store can keep it.
    if "\0" in text:
        raise ValueError("Text cannot contain the character U+0000")
    return text


def _split(value: Any) -> Any:
    """Take `a,b` as well as a repeated parameter."""
    if isinstance(value, list):
        return [part for item in value for part in str(item).split(",")]
    return value


Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Sku = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_without_nul)]
Text = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_without_nul)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Price = Annotated[
    Decimal,
    Field(ge=0, max_digits=12, decimal_places=2),
    AfterValidator(lambda price: price.quantize(Decimal("0.01")) + 0),  # no minus zero
]
Rating = Annotated[int, Field(strict=True, ge=1, le=5)]


class Body(BaseModel):
    """A request body: a misspelt field is an error, not a default."""

    model_config = ConfigDict(extra="forbid")


class ProductDraft(Body):
    """A product as a client writes it."""

    sku: Sku
    """Stock-keeping unit; no two products share one."""
    name: Name
    description: Text = ""
    price: Price
    """Amount of `currency` with at most two decimal places; a string, so that it stays exact."""
    currency: Currency
    """ISO 4217 code."""


# None would be a value; this is the absence of one, which no caller sees.
_LEFT_OUT: Any = None


class ProductChanges(Body):
    """What a client changes of a product (RFC 7396, merge patch); what is left out stays."""

    sku: Sku = _LEFT_OUT
    name: Name = _LEFT_OUT
    description: Text = _LEFT_OUT
    price: Price = _LEFT_OUT
    currency: Currency = _LEFT_OUT

    @model_validator(mode="after")
    def _change_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("Name at least one field to change")
        return self


class ReviewDraft(Body):
    """A review as a client writes it."""

    author: Name
    rating: Rating
    """Stars, from 1 to 5."""
    text: Text = ""


class Review(BaseModel):
    id: Id
    product_id: Id
    author: str
    rating: int
    text: str
    created_at: datetime


class Product(BaseModel):
    id: Id
    version: int
    """Counts the changes; the ETag is made of it."""
    sku: str
    name: str
    description: str
    price: Decimal
    currency: str
    created_at: datetime
    updated_at: datetime
    latest_reviews: list[Review] | None = None
    """The newest reviews; there with `include=reviews` only."""


class PartialProduct(Product):
    """A product, or as much of it as `fields` asked for."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("required"))


class ProductPage(Page[PartialProduct]):
    """Products in the order that was asked for."""


class ReviewPage(Page[Review]):
    """Reviews, newest first."""


class BulkResult(BaseModel):
    ids: list[Id]
    """Of the products in the order that they were sent in."""


class CurrencyStatistics(BaseModel):
    """Figures of the products that are priced in one currency."""

    currency: str
    products: int
    products_last_30_days: int
    price_minimum: Decimal
    price_average: Decimal
    price_maximum: Decimal
    reviews: int
    rating_average: float | None
    """Mean of the stars, to two decimal places; null without a review."""


class Statistics(BaseModel):
    products: int
    reviews: int
    rating_average: float | None
    currencies: list[CurrencyStatistics]


ProductField = Literal[
    "id",
    "version",
    "sku",
    "name",
    "description",
    "price",
    "currency",
    "created_at",
    "updated_at",
]
PRODUCT_FIELDS: tuple[ProductField, ...] = get_args(ProductField)
Sort = Literal["created_at", "-created_at", "name", "-name", "price", "-price"]


class PageQuery(Body):
    """Where in a listing, and how much of it."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 20
    """Rows on the page."""
    cursor: str | None = None
    """`next_cursor` of the page before."""


class ProductQuery(PageQuery):
    """Which products, in which order, and what of them."""

    sort: Sort = "-created_at"
    """A minus sign begins with the greatest."""
    ids: Annotated[list[Id] | None, BeforeValidator(_split), Field(max_length=MAX_PAGE)] = None
    """Just these products, in this order, without those that do not exist."""
    currency: Currency | None = None
    price_min: Price | None = None
    price_max: Price | None = None
    name_prefix: Name | None = None
    """Products whose name begins with this; case matters."""
    fields: Annotated[list[ProductField] | None, BeforeValidator(_split)] = None
    """Just these fields."""
    include: Literal["reviews"] | None = None
    """`reviews` adds `latest_reviews` to each product."""

    @model_validator(mode="after")
    def _ids_stand_alone(self) -> Self:
        others = self.model_fields_set - {"ids", "fields", "include"}
        if self.ids is not None and others:
            raise ValueError(f"ids cannot be combined with {', '.join(sorted(others))}")
        return self
