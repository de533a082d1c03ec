"""A load of the catalogue as it is used: many look, some browse, a few write.

`uv run --group load locust` puts it on a service that runs; `[tool.locust]` in pyproject.toml says
where, how many users and how long. A request that fails is an exit status of 1.
"""

import json
import random
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

from locust import FastHttpUser, between, events, task

PRODUCTS = "/v1/products"
ONE = f"{PRODUCTS}/[id]"
AT_FIRST = 200


def draft() -> dict[str, str]:
    """A product that nobody has yet."""
    number = random.randrange(100_000)
    return {
        "sku": f"load-{uuid4()}",
        "name": f"Lamp {number}",
        "description": "Shines, and is described at some length, as products are. " * 3,
        "price": f"{number / 100:.2f}",
        "currency": random.choice(["EUR", "USD"]),
    }


@events.test_start.add_listener
def fill(environment: Any, **_others: Any) -> None:
    """Have some pages to browse from the start on."""
    body = json.dumps([draft() for _ in range(AT_FIRST)]).encode()
    headers = {"Content-Type": "application/json"}
    urlopen(Request(f"{environment.host}{PRODUCTS}/bulk", body, headers)).close()


class Shopper(FastHttpUser):
    """Looks at products, again and again at some."""

    weight = 9
    wait_time = between(0.05, 0.5)

    def on_start(self) -> None:
        self._ids: list[int] = []
        self._known: dict[int, str] = {}
        self.browse()

    @task(10)
    def look(self) -> None:
        product_id = random.choice(self._ids)
        with self.client.get(f"{PRODUCTS}/{product_id}", name=ONE) as answer:
            if answer.status_code == 200:
                self._known[product_id] = answer.headers["ETag"]

    @task(4)
    def look_again(self) -> None:
        """With what a browser remembers."""
        if self._known:
            product_id, tag = random.choice(list(self._known.items()))
            self.client.get(
                f"{PRODUCTS}/{product_id}", headers={"If-None-Match": tag}, name=f"{ONE} again"
            )

    @task(4)
    def browse(self) -> None:
        """A page and the next one."""
        sort = random.choice(["-created_at", "name", "price"])
        with self.client.get(f"{PRODUCTS}?sort={sort}", name=PRODUCTS) as answer:
            page = answer.json()
        self._ids += [item["id"] for item in page["items"]]
        if cursor := page["next_cursor"]:
            path = f"{PRODUCTS}?sort={sort}&cursor={cursor}"
            self.client.get(path, name=f"{PRODUCTS} next")

    @task(1)
    def see_statistics(self) -> None:
        self.client.get(f"{PRODUCTS}/statistics")


class Clerk(FastHttpUser):
    """Adds products, changes them and writes reviews."""

    weight = 1
    wait_time = between(0.1, 1)

    def on_start(self) -> None:
        self.add()

    @task(2)
    def add(self) -> None:
        with self.client.post(PRODUCTS, json=draft()) as answer:
            self._path = f"{PRODUCTS}/{answer.json()['id']}"
            self._tag = answer.headers["ETag"]

    @task(2)
    def change(self) -> None:
        price = f"{random.randrange(100_000) / 100:.2f}"
        with self.client.patch(
            self._path, json={"price": price}, headers={"If-Match": self._tag}, name=ONE
        ) as answer:
            self._tag = answer.headers["ETag"]

    @task(1)
    def review(self) -> None:
        body = {"author": "A customer", "rating": random.randint(1, 5), "text": "It shines."}
        self.client.post(f"{self._path}/reviews", json=body, name=f"{ONE}/reviews")
