"""Price lists over HTTP, from the upload to the products."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from starlette.types import Message

from app.catalog.csv_chunks import MAX_BYTES, MAX_ROWS, Chunk
from app.catalog.import_routes import MAX_BODY_BYTES
from tests.catalog.price_lists import (
    HEADER,
    PATH,
    Rooms,
    imported,
    in_pieces,
    kept,
    lines,
    over,
    products,
    rows,
    send,
    store_of,
    uploaded,
)
from tests.catalog.products import create
from tests.problems import problem
from tests.serving import calling, with_state


@pytest.fixture
async def rooms(app: FastAPI) -> AsyncIterator[Rooms]:
    """What handlers find as `request.state`."""
    async with app.router.lifespan_context(app) as state:
        yield state or {}


@pytest.fixture
async def client(app: FastAPI, rooms: Rooms) -> AsyncIterator[AsyncClient]:
    async with calling(with_state(app, rooms)) as client:
        yield client


class TestUpload:
    async def test_accepted(self, client: AsyncClient) -> None:
        """202, and the task to follow, which tells how far it is and what it came to."""
        response = await send(client, HEADER + rows(1, 2))
        assert response.status_code == 202
        location = response.headers["location"]
        assert location == f"/v1/tasks/{response.json()['id']}"
        assert response.json()["name"] == "catalog.import_prices"
        status = await over(client, location)
        assert status["state"] == "succeeded"
        assert status["progress"] == {"done": 2, "total": 2}
        assert status["result"] == {"rows": 2, "imported": 2, "failed": 0, "errors": []}
        assert await products(client) == {
            "sku-1": ("Lamp", "1.50", 1),
            "sku-2": ("Lamp", "2.50", 1),
        }

    async def test_known_products_are_replaced(self, client: AsyncClient) -> None:
        """Once each; of a sku that stands there twice, the last row stays."""
        known = await create(client, sku="sku-1", description="It shines.")
        result = await imported(client, HEADER + rows(1, name="First") + rows(1, name="Last"))
        assert (result["rows"], result["imported"]) == (2, 2)
        assert await products(client) == {"sku-1": ("Last", "1.50", 2)}
        product = (await client.get(f"/v1/products/{known['id']}")).json()
        assert product["description"] == ""

    async def test_any_order_of_columns(self, client: AsyncClient) -> None:
        """With the byte order mark and the line ends that spreadsheets write."""
        text = "\ufeffcurrency,description,price,name,sku\r\nEUR,It shines.,19.90,Lamp,l-1\r\n"
        await imported(client, text)
        (product,) = (await client.get("/v1/products")).json()["items"]
        assert product["sku"] == "l-1"
        assert product["description"] == "It shines."

    async def test_only_the_header(self, client: AsyncClient) -> None:
        """A list may be empty."""
        assert (await imported(client, HEADER))["rows"] == 0

    async def test_more_than_other_bodies_may_have(self, client: AsyncClient) -> None:
        """Its limit is its own: it is never in memory as a whole."""
        text = "x" * 2_000
        body = "sku,name,price,currency,description\n"
        body += "".join(f"s-{number},Lamp,1,EUR,{text}\n" for number in range(1_500))
        assert len(body) > 2 * 1024 * 1024
        problem(await client.put("/v1/products/bulk", content=body), 413)
        assert (await imported(client, body))["imported"] == 1_500


class TestErrors:
    async def test_rows_that_do_not_fit(self, client: AsyncClient) -> None:
        """Each is told with its line; the others are imported."""
        text = (
            HEADER
            + '"ok-1","Two\nlines\u2028, ""quoted""",1.50,EUR\r\n'
            + "b d,Lamp,1.50,EUR\n"
            + "\n"
            + "short,1.50\n"
            + 'worse,"",free,euro'
        )
        result = await imported(client, text)
        assert lines(result) == [(4, "b d"), (6, None), (7, "worse")]
        assert (result["rows"], result["imported"], result["failed"]) == (4, 1, 3)
        details = [error["detail"] for error in result["errors"]]
        assert "sku: " in details[0]
        assert "2 values where the header line names 4" in details[1]
        assert all(f"{name}: " in details[2] for name in ("name", "price", "currency"))
        assert await products(client) == {"ok-1": ('Two\nlines\u2028, "quoted"', "1.50", 1)}

    async def test_many(self, client: AsyncClient) -> None:
        """The first hundred are told, all are counted; the result stays small however odd."""
        odd = "\u0001" * 500
        text = HEADER + f"{odd},{odd},{odd},{odd}\n" * 1_100
        result = await imported(client, text)
        assert (result["imported"], result["failed"]) == (0, 1_100)
        assert [line for line, _ in lines(result)] == list(range(2, 102))


class TestRefusals:
    @pytest.mark.parametrize(
        "content_type", ["application/json", "text/csv; charset=ISO-8859-1", ""]
    )
    async def test_other_media_types(
        self, client: AsyncClient, rooms: Rooms, content_type: str
    ) -> None:
        """415 that names the one that is taken."""
        refused = await send(client, HEADER + rows(1), Content_Type=content_type)
        assert "text/csv" in problem(refused, 415)["detail"]
        assert await kept(rooms) == []

    @pytest.mark.parametrize(
        ("header", "complaint"),
        [
            ("", "The list is empty; begin it with the line sku,name,description,price,currency."),
            ("sku,name\n", "lacks 'price', 'currency';"),
            ("sku,name,price,currency,colour\n", "names the unknown 'colour';"),
            ("sku;name;price;currency\n", "names the unknown 'sku;name;price;currency';"),
            ("sku,name,price,currency,sku\n", "has twice 'sku';"),
        ],
    )
    async def test_other_columns(
        self, client: AsyncClient, rooms: Rooms, header: str, complaint: str
    ) -> None:
        """400 that says which; nothing is kept."""
        refused = await send(client, header)
        assert complaint in problem(refused, 400)["detail"]
        assert await kept(rooms) == []

    async def test_other_encoding_half_way(self, client: AsyncClient, rooms: Rooms) -> None:
        """400, and nothing is left of what came before."""
        body = (HEADER + rows(*range(1_200))).encode() + b"\xff"
        assert "UTF-8" in problem(await send(client, body), 400)["detail"]
        assert await kept(rooms) == []
        assert await products(client) == {}

    async def test_too_much(self, client: AsyncClient) -> None:
        """413, before it is sent."""
        size = str(MAX_BODY_BYTES + 1)
        problem(await send(client, "sku", Content_Length=size), 413)

    async def test_long_key(self, client: AsyncClient) -> None:
        """422."""
        problem(await send(client, HEADER, Idempotency_Key="k" * 201), 422)


class TestStreaming:
    async def test_client_that_leaves(self, app: FastAPI, rooms: Rooms) -> None:
        """What it has sent is removed at once."""
        pieces = [(HEADER + rows(*range(600))).encode(), rows(*range(600, 1_200)).encode()]

        async def receive() -> Message:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(0), "more_body": True}
            (price_list,) = await kept(rooms)
            assert await store_of(rooms).chunk(price_list.id, 2) is not None
            return {"type": "http.disconnect"}

        async def ignore(_message: Message) -> None:
            """Nobody is there to read it."""

        scope = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "headers": [(b"content-type", b"text/csv")],
        }
        await with_state(app, rooms)(scope, receive, ignore)
        assert await kept(rooms) == []

    async def test_client_that_takes_its_time(self, client: AsyncClient) -> None:
        """It keeps nobody else from writing meanwhile."""

        async def slow() -> AsyncIterator[bytes]:
            yield (HEADER + rows(*range(600))).encode()
            await create(client, sku="meanwhile")
            yield rows(600).encode()

        response = await client.post(PATH, content=slow(), headers={"Content-Type": "text/csv"})
        await over(client, response.headers["location"])
        assert len(await products(client)) == 602

    async def test_small_pieces(self, rooms: Rooms) -> None:
        """However the network cuts it, a list is the same."""
        text = HEADER + 'é-1,"日本\n",1,EUR\n' + rows(1)
        await uploaded(rooms, in_pieces(text, size=1))
        (price_list,) = await kept(rooms)
        chunk = await store_of(rooms).chunk(price_list.id, 1)
        assert chunk is not None
        assert HEADER + chunk.text == text

    async def test_many_rows(self, rooms: Rooms) -> None:
        """They are handed on in chunks of bounded size, while the rest is still to come."""
        handed_on: list[Chunk] = []

        async def pieces() -> AsyncIterator[bytes]:
            yield HEADER.encode()
            for start in range(0, 50_000, 1_000):
                yield rows(*range(start, start + 1_000)).encode()
                (price_list,) = await kept(rooms)
                number = len(handed_on) + 1
                while chunk := await store_of(rooms).chunk(price_list.id, number):
                    handed_on.append(chunk)
                    number += 1
                assert sum(each.rows for each in handed_on) >= start + 1_000 - MAX_ROWS

        await uploaded(rooms, pieces())
        (price_list,) = await kept(rooms)
        assert price_list.rows == 50_000
        assert max(chunk.rows for chunk in handed_on) <= MAX_ROWS
        assert max(len(chunk.text.encode()) for chunk in handed_on) <= MAX_BYTES


class TestIdempotency:
    async def test_one_after_the_other(self, client: AsyncClient, rooms: Rooms) -> None:
        """The same task, and nothing is kept or imported twice."""
        first, second = [
            await send(client, HEADER + rows(1), Idempotency_Key="march") for _ in range(2)
        ]
        assert second.status_code == 202
        assert second.json()["id"] == first.json()["id"]
        await over(client, first.headers["location"])
        assert await products(client) == {"sku-1": ("Lamp", "1.50", 1)}
        assert len(await kept(rooms)) == 1

    async def test_at_the_same_time(self, client: AsyncClient, rooms: Rooms) -> None:
        """Whoever comes second finds the task of the first."""
        answers = await asyncio.gather(
            *(send(client, HEADER + rows(1), Idempotency_Key="march") for _ in range(5))
        )
        assert [answer.status_code for answer in answers] == [202] * 5
        assert len({answer.json()["id"] for answer in answers}) == 1
        await over(client, answers[0].headers["location"])
        assert len(await kept(rooms)) == 1

    async def test_other_key(self, client: AsyncClient) -> None:
        """Is another import; so is one without."""
        keys = [{"Idempotency_Key": "march"}, {"Idempotency_Key": "april"}, {}, {}]
        answers = [await send(client, HEADER + rows(1), **key) for key in keys]
        assert len({answer.json()["id"] for answer in answers}) == 4
        for answer in answers:
            await over(client, answer.headers["location"])
