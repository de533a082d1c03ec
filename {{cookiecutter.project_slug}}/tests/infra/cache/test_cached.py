"""Functions and methods whose results are cached by their arguments."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from app.errors import Conflict, NotFound, TimedOut, TryAgain, Unavailable
from app.infra.cache import Cache, cached, key_of
from app.infra.cache.cache import Loaded
from tests.caches import Clock
from tests.infra.cache.conftest import Caches


class Item(BaseModel):
    id: int
    names: list[str] = []
    seen: datetime | None = None


class Shop:
    """Something with a cache, and methods that remember what they were asked."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.asked: list[Any] = []
        self.error: Exception | None = None
        self.found: Item | None = Item(id=1, names=["a"])

    @cached(
        ttl_seconds=10,
        tags=lambda result, item_id: [f"item:{item_id}", f"found:{result is not None}"],
        stale_seconds=10,
        errors=(NotFound, Unavailable),
    )
    async def item(self, item_id: int) -> Item | None:
        """What is documented stays so."""
        return self._answer(item_id)

    @cached(ttl_seconds=10, none=False, tags=lambda result: [str(result.id)])
    async def found_only(self) -> Item | None:
        return self._answer(None)

    @cached(ttl_seconds=10, ignore=("self", "session"))
    async def several(
        self, first: int, /, second: int = 2, *rest: int, session: object = None, **more: int
    ) -> list[Any]:
        self.asked.append(session)
        return [first, second, *rest, *sorted(more.items())]

    def _answer(self, what: object) -> Item | None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error
        return self.found


@pytest.fixture
def shop(cache: Cache) -> Shop:
    return Shop(cache)


class TestArguments:
    async def test_same(self, shop: Shop) -> None:
        """By position, by name, or left out: it is the same call."""
        calls = [
            shop.several(1),
            shop.several(1, 2),
            shop.several(1, second=2),
            shop.several(1, session=object()),
        ]
        results = [await call for call in calls]
        assert results == [[1, 2]] * 4
        assert shop.asked == [None]

    async def test_different(self, shop: Shop) -> None:
        """Each of these is another call."""
        results = [
            await shop.several(1),
            await shop.several(2),
            await shop.several(1, 3),
            await shop.several(1, 2, 3),
            await shop.several(1, three=3),
            await shop.several(1, four=3),
        ]
        assert len(shop.asked) == len(results)

    async def test_wrong(self, shop: Shop) -> None:
        """The error is the one that the function would raise."""
        with pytest.raises(TypeError, match="missing a required argument: 'item_id'"):
            await shop.item()  # type: ignore[call-arg]

    async def test_unsuitable(self, shop: Shop) -> None:
        """What cannot be told apart is refused, with the remedy."""
        with pytest.raises(TypeError, match="name its parameter in `ignore`"):
            await shop.item(object())  # type: ignore[arg-type]

    async def test_two_functions(self, cache: Cache) -> None:
        """Nor do functions share results."""

        @cached(ttl_seconds=10, cache=cache)
        async def one() -> int:
            return 1

        @cached(ttl_seconds=10, cache=cache)
        async def two() -> int:
            return 2

        assert [await one(), await two(), await one()] == [1, 2, 1]

    async def test_looks_the_same(self, shop: Shop) -> None:
        """Name and documentation are the function's own."""
        assert shop.item.__name__ == "item"
        assert shop.item.__doc__ == "What is documented stays so."


class TestMistakes:
    async def test_no_annotation(self, cache: Cache) -> None:
        """Nothing would say how the result is written."""
        with pytest.raises(TypeError, match="answer is cached, and needs a return annotation"):

            @cached(ttl_seconds=1, cache=cache)
            async def answer():  # type: ignore[no-untyped-def]  # noqa: ANN202
                return 42

    async def test_no_cache(self) -> None:
        """A function is given one, or the object of a method has it."""

        @cached(ttl_seconds=1)
        async def answer(of: int) -> int:
            return of

        with pytest.raises(TypeError, match="finds no cache: pass `cache=` for a function"):
            await answer(42)

    async def test_text_for_tags(self, cache: Cache) -> None:
        """It would be one tag for each character, of which nobody ever outdates one."""

        @cached(ttl_seconds=1, cache=cache, tags=lambda _result: "answer")
        async def answer() -> int:
            return 42

        with pytest.raises(TypeError, match="'answer' is one tag; write a list of them"):
            await answer()
        with pytest.raises(TypeError, match="'answer' is one tag"):
            await cache.forget(tags="answer")


class TestResults:
    async def test_of_ones_own(self, shop: Shop) -> None:
        """What one does to a result, no other sees."""
        first, second = await asyncio.gather(shop.item(1), shop.item(1))
        assert first is not None
        first.names.append("b")
        assert second == await shop.item(1) == Item(id=1, names=["a"])
        assert shop.asked == [1]

    async def test_unset(self, shop: Shop) -> None:
        """What was left unset stays so, whether it was cached or not."""
        for _ in range(2):
            item = await shop.item(1)
            assert item is not None
            assert item.model_fields_set == {"id", "names"}

    async def test_none(self, shop: Shop) -> None:
        """It is a result too."""
        shop.found = None
        assert [await shop.item(1), await shop.item(1)] == [None, None]
        assert shop.asked == [1]

    async def test_no_none(self, shop: Shop) -> None:
        """Unless it shall not be: then nobody is asked for its tags."""
        shop.found = None
        assert [await shop.found_only(), await shop.found_only()] == [None, None]
        assert len(shop.asked) == 2

    async def test_another_type(self, caches: Caches) -> None:
        """A release whose type differs reads nothing of an older one."""

        class Old(BaseModel):
            id: int

        class New(BaseModel):
            id: int
            weight: int = 0

        def release(cache: Cache, kind: type[BaseModel], version: int = 1) -> Any:
            async def read() -> Any:
                return kind(id=version)

            read.__annotations__["return"] = kind
            return cached(ttl_seconds=10, cache=cache, version=version)(read)

        cache = await caches.cache()
        assert await release(cache, Old)() == Old(id=1)
        assert await release(cache, New)() == New(id=1)
        assert await release(cache, New, version=2)() == New(id=2)
        assert cache.figures[release(cache, Old).plan.name].loads == 3

    async def test_junk(self, shop: Shop) -> None:
        """What cannot be read is loaded anew, and replaced."""
        await shop.item(1)
        key = key_of(shop.item, 1)
        for junk in (b"", b"r{", b"r[1]", b"e", b"e[1]", b'e["Gone","x"]', b"\xff", b"x1"):
            await write(shop.cache, key, junk)
            shop.asked.clear()
            for _ in range(2):
                assert await shop.item(1) == shop.found
            assert shop.asked == [1]


async def write(cache: Cache, key: str, payload: bytes) -> None:
    """Keep `payload` as if it had been loaded."""

    async def load() -> Loaded:
        return Loaded(payload, ttl_seconds=10)

    await cache.forget(keys=[key])
    await cache.get("test", key, load)


class TestErrors:
    async def test_declared(self, shop: Shop) -> None:
        """They are answers, and are cached with their sentence."""
        shop.error = NotFound("There is no item 1.")
        for _ in range(2):
            with pytest.raises(NotFound, match=r"There is no item 1\."):
                await shop.item(1)
        assert shop.asked == [1]
        shop.error = None
        await shop.cache.forget(tags=["item:1"])
        assert await shop.item(1) == shop.found

    @pytest.mark.parametrize("error", [Conflict("no"), ValueError("no"), TryAgain("no")])
    async def test_others(self, shop: Shop, error: Exception) -> None:
        """They are not, be they of a kind that was declared."""
        shop.error = error
        for _ in range(2):
            with pytest.raises(type(error), match="no"):
                await shop.item(1)
        assert shop.asked == [1, 1]

    @pytest.mark.parametrize("error", [TryAgain("no"), TimedOut("no"), ConnectionError("no")])
    async def test_hidden(self, shop: Shop, clock: Clock, error: Exception) -> None:
        """A source that does not answer is better represented by what it said last."""
        await shop.item(1)
        clock.now += 15
        shop.error = error
        assert await shop.item(1) == shop.found
        clock.now += 15
        with pytest.raises(type(error)):
            await shop.item(1)

    async def test_not_hidden(self, shop: Shop, clock: Clock) -> None:
        """A source that says that there is nothing more is believed."""
        await shop.item(1)
        clock.now += 15
        shop.error = NotFound("gone")
        with pytest.raises(NotFound):
            await shop.item(1)


class TestForgetting:
    async def test_tags(self, shop: Shop) -> None:
        """They are made of the result and of the arguments."""
        for item_id in (1, 2):
            await shop.item(item_id)
        await shop.cache.forget(tags=["item:2"])
        for item_id in (1, 2):
            await shop.item(item_id)
        assert shop.asked == [1, 2, 2]
        await shop.cache.forget(tags=["found:True"])
        await shop.item(1)
        assert shop.asked == [1, 2, 2, 1]

    async def test_key(self, shop: Shop) -> None:
        """One call, however its arguments are given."""
        for item_id in (1, 2):
            await shop.item(item_id)
        await shop.cache.forget(keys=[key_of(shop.item, item_id=2)])
        for item_id in (1, 2):
            await shop.item(item_id)
        assert shop.asked == [1, 2, 2]
