"""The export: every product, streamed."""

import asyncio
import csv
import io
import json
import tracemalloc

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from starlette.types import ASGIApp, Message

from tests.catalog.products import draft
from tests.problems import problem
from tests.serving import started

AWKWARD = ['comma, "quotes"', "two\nlines", "é 日本 👩‍🚀", " "]


@pytest.fixture
async def skus(client: AsyncClient) -> list[str]:
    """More products than one batch holds, some with awkward names."""
    drafts = [draft(name=name) for name in AWKWARD] + [draft() for _ in range(700)]
    await client.post("/v1/products/bulk", json=drafts)
    return [body["sku"] for body in drafts]


class TestFormats:
    async def test_ndjson(self, client: AsyncClient, skus: list[str]) -> None:
        """One JSON document a line, the same as the product by itself."""
        response = await client.get("/v1/products/export")
        assert response.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in response.text.splitlines()]
        assert [line["sku"] for line in lines] == skus
        assert lines[0] == (await client.get(f"/v1/products/{lines[0]['id']}")).json()

    async def test_csv(self, client: AsyncClient, skus: list[str]) -> None:
        """A header line, and values that survive commas, quotes and line ends (RFC 4180)."""
        response = await client.get("/v1/products/export", headers={"Accept": "text/csv"})
        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
        assert [row["sku"] for row in rows] == skus
        assert [row["name"] for row in rows[: len(AWKWARD)]] == AWKWARD
        product = (await client.get(f"/v1/products/{rows[0]['id']}")).json()
        assert rows[0] == {name: str(value) for name, value in product.items()}

    async def test_neither(self, client: AsyncClient) -> None:
        """406 that names what there is."""
        refused = await client.get("/v1/products/export", headers={"Accept": "image/png"})
        assert "text/csv" in problem(refused, 406)["detail"]

    async def test_empty(self, client: AsyncClient) -> None:
        """No product: no line, but the header of CSV."""
        assert (await client.get("/v1/products/export")).content == b""
        response = await client.get("/v1/products/export", headers={"Accept": "text/csv"})
        assert response.text.splitlines()[0].startswith("id,version,sku,")


class TestStreaming:
    async def test_memory_stays_flat(self, app: FastAPI) -> None:
        """Four times the products take no more memory on their way out."""
        async with started(app) as serving:
            peaks = []
            for bulks in (1, 3):
                for _ in range(bulks):
                    await call(
                        serving, "POST", "/v1/products/bulk", [draft() for _ in range(1_000)]
                    )
                tracemalloc.start()
                pieces = await call(serving, "GET", "/v1/products/export")
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
                assert max(pieces) <= 500
            assert sum(pieces) == 4_000
        assert peaks[1] < peaks[0] * 1.5


async def call(app: ASGIApp, method: str, path: str, body: object = None) -> list[int]:
    """The number of lines in each piece of the body, as a server would send them."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    requests = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
    pieces: list[int] = []

    async def receive() -> Message:
        if requests:
            return requests.pop()
        return await asyncio.Future[Message]()

    async def send(message: Message) -> None:
        pieces.append(message.get("body", b"").count(b"\n"))

    await app(scope, receive, send)
    return pieces
