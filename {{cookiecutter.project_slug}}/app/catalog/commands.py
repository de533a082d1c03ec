"""`python -m app seed`."""

import asyncio
import random
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Any

import click

from app.catalog.schemas import MAX_BULK, ProductDraft
from app.catalog.service import Catalog

OpenRooms = Callable[[], AbstractAsyncContextManager[dict[str, Any]]]

_ADJECTIVES = ("Plain", "Sturdy", "Light", "Quiet", "Bright", "Folding", "Travel", "Garden")
_NOUNS = ("lamp", "chair", "kettle", "bag", "table", "radio", "knife", "blanket")


def add_to(group: click.Group, open_rooms: OpenRooms) -> None:
    """Add the commands of this slice; `open_rooms` reads the settings when one is run."""

    @group.command()
    @click.option("--products", type=click.IntRange(min=1), default=1_000, show_default=True)
    def seed(products: int) -> None:
        """Fill the catalogue with made-up products, in batches."""

        async def run() -> None:
            async with open_rooms() as rooms:
                catalog: Catalog = rooms["catalog"]
                with click.progressbar(length=products, label="Products") as bar:
                    for start in range(0, products, MAX_BULK):
                        drafts = made_up_products(min(MAX_BULK, products - start))
                        await catalog.create_all(drafts)
                        bar.update(len(drafts))

        asyncio.run(run())
        click.echo(f"Added {products:,} products.")


def made_up_products(number: int) -> list[ProductDraft]:
    """Products with skus that no other call makes."""
    series = secrets.token_hex(6)
    return [_made_up_product(f"{series}-{index}") for index in range(number)]


def _made_up_product(sku: str) -> ProductDraft:
    chance = random.Random(sku)  # noqa: S311  # nothing here is secret
    name = f"{chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)}"
    return ProductDraft(
        sku=sku,
        name=name,
        description=f"A {name.lower()} for every day.",
        price=Decimal(chance.randint(100, 100_000)).scaleb(-2),
        currency=chance.choice(("EUR", "USD", "GBP")),
    )
