"""What is kept in memory is bounded, and what was used last stays."""

from collections import OrderedDict
from typing import Any

import pytest

from app.infra.cache.lru import Lru
from tests.caches import LONG, Clock

# What an entry takes beside its value, whose key here has one letter.
OVERHEAD = 301


def lru(max_entries: int = 1000, max_bytes: int = 1_000_000) -> Lru:
    return Lru(max_entries, max_bytes)


def put(lru: Lru, keys: str, size: int = 10) -> None:
    for key in keys:
        lru.put(key, b"x" * size, LONG)


def kept(lru: Lru) -> str:
    """The keys, the least recently used first; looking uses nothing."""
    return "".join(lru._entries)


class TestOrder:
    def test_least_recently_used(self) -> None:
        """It goes first, whether it was read or written."""
        cache = lru(max_entries=3)
        put(cache, "abc")
        cache.get("a")
        put(cache, "b")
        put(cache, "d")
        assert kept(cache) == "abd"
        assert cache.evictions == 1

    def test_looked_for_in_vain(self) -> None:
        """What is not there takes no place."""
        cache = lru()
        assert cache.get("a") is None
        cache.pop("a")
        assert (len(cache), cache.bytes) == (0, 0)

    def test_extended(self) -> None:
        """Having longer to live is not being used."""
        cache = lru(max_entries=2)
        put(cache, "ab")
        cache.extend("a", 2 * LONG)
        put(cache, "c")
        assert kept(cache) == "bc"


class TestBounds:
    def test_entries(self) -> None:
        """There are never more, and as many as that stay."""
        cache = lru(max_entries=10)
        for number in range(100):
            cache.put(str(number), b"", LONG)
            assert len(cache) == min(10, number + 1)

    def test_bytes(self) -> None:
        """Large ones make as many small ones go as they need, and no more."""
        cache = lru(max_bytes=10 * (OVERHEAD + 10))
        put(cache, "abcdefghij")
        put(cache, "X", 2 * (OVERHEAD + 10) - OVERHEAD)
        assert kept(cache) == "cdefghijX"
        assert cache.bytes == 10 * (OVERHEAD + 10)

    def test_never_empties_at_once(self) -> None:
        """A full cache is not emptied to make room."""
        cache = lru(max_bytes=1000 * (OVERHEAD + 10))
        for number in range(5000):
            cache.put(chr(1000 + number), b"x" * 10, LONG)
            assert len(cache) == min(1000, number + 1)

    def test_too_large(self) -> None:
        """What would need everything to go is not kept, nor is what was there before."""
        cache = lru(max_bytes=1000)
        put(cache, "ab")
        put(cache, "a", 1000)
        assert kept(cache) == "b"
        assert cache.evictions == 0

    def test_replaced_and_removed(self) -> None:
        """The count of bytes is that of what is there."""
        cache = lru()
        put(cache, "aab", 10)
        put(cache, "a", 500)
        assert cache.bytes == 2 * OVERHEAD + 510
        cache.pop("a")
        assert cache.bytes == OVERHEAD + 10
        cache.clear()
        assert (len(cache), cache.bytes) == (0, 0)


class TestTime:
    def test_too_old(self) -> None:
        """It is gone from the moment on at which its time has passed, and its bytes are too."""
        clock = Clock()
        cache = Lru(10, 10_000, clock)
        cache.put("a", b"x", 10)
        clock.now += 9.9
        assert cache.get("a") == b"x"
        clock.now += 0.1
        assert cache.get("a") is None
        assert cache.bytes == 0

    @pytest.mark.parametrize(("extended", "lives"), [(5, 10), (20, 20)])
    def test_extended(self, extended: float, lives: float) -> None:
        """It lives longer, never shorter."""
        clock = Clock()
        cache = Lru(10, 10_000, clock)
        cache.put("a", b"x", 10)
        cache.extend("a", extended)
        clock.now += lives - 0.1
        assert cache.get("a") == b"x"
        clock.now += 0.1
        assert cache.get("a") is None


class Counting(OrderedDict[str, Any]):
    """Counts what is done to it, and refuses to be walked through."""

    done = 0

    def _count(self) -> None:
        self.done += 1

    def get(self, *args: Any) -> Any:
        self._count()
        return super().get(*args)

    def pop(self, *args: Any) -> Any:
        self._count()
        return super().pop(*args)

    def popitem(self, last: bool = True) -> Any:
        self._count()
        return super().popitem(last)

    def move_to_end(self, *args: Any, **kwargs: Any) -> None:
        self._count()
        super().move_to_end(*args, **kwargs)

    def __setitem__(self, key: str, value: Any) -> None:
        self._count()
        super().__setitem__(key, value)

    def __iter__(self) -> Any:
        raise AssertionError("nobody may walk through everything")

    items = keys = values = __iter__


class TestCost:
    @pytest.mark.parametrize("size", [10, 10_000])
    def test_steps(self, size: int) -> None:
        """An operation takes as many steps in a large cache as in a small one."""
        cache = lru(max_entries=size, max_bytes=2**40)
        for number in range(size):
            cache.put(str(number), b"x", LONG)
        counting = cache._entries = Counting(cache._entries)
        steps = []
        for operation in (
            lambda: cache.get("5"),
            lambda: cache.put("new", b"x", LONG),
            lambda: cache.pop("new"),
            lambda: cache.get("missing"),
        ):
            counting.done = 0
            operation()  # type: ignore[no-untyped-call]
            steps.append(counting.done)
        assert steps == [2, 3, 1, 1]
