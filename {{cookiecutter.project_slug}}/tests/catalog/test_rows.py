"""Products, made of rows."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.catalog.repository import product_of
from app.catalog.schemas import PRODUCT_FIELDS, PartialProduct, Product

ROW: dict[str, Any] = {
    "id": 7,
    "version": 1,
    "sku": "lamp",
    "name": "A lamp",
    "description": "Shines.",
    "price": Decimal("12.34"),
    "currency": "EUR",
    "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "updated_at": datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
}


class TestProductOf:
    @pytest.mark.parametrize("kind", [Product, PartialProduct])
    @pytest.mark.parametrize("sent", [PRODUCT_FIELDS, ("id", "name")])
    def test_is_what_pydantic_makes(self, kind: type[Product], sent: tuple[str, ...]) -> None:
        """To look at, to compare, to change, to copy, and on the wire."""
        made = product_of(kind, dict(ROW), sent)
        usual = kind.model_construct(_fields_set=set(sent), **ROW)
        assert made == usual
        assert repr(made) == repr(usual)
        for product in (made, usual):
            product.latest_reviews = []
        for left_out in (True, False):
            texts = [
                product.model_dump_json(exclude_unset=left_out)
                for product in (made, made.model_copy(deep=True), usual)
            ]
            assert texts == texts[:1] * 3

    def test_knows_every_field(self) -> None:
        """A new one, with a default, has to be told of."""
        assert {*PRODUCT_FIELDS, "latest_reviews"} == set(Product.model_fields)
