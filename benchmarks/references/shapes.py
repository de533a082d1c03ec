"""What the references with a database answer with: the same fields as the service's.

A price is the whole number of hundredths that the database keeps of it.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel


class Draft(BaseModel):
    sku: str
    name: str
    description: str = ""
    price: Decimal
    currency: str

    def stored(self) -> dict[str, Any]:
        return {**self.model_dump(), "price": int(self.price * 100)}


class Product(BaseModel):
    id: int
    version: int
    sku: str
    name: str
    description: str
    price: int
    currency: str
    created_at: datetime
    updated_at: datetime


class Page(BaseModel):
    items: list[Product]
