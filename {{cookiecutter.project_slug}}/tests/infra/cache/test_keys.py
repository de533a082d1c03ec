"""Equal arguments have equal keys, in every process; different ones have different keys."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from app.infra.cache.keys import digest, digest_of, schema_digest
from tests.processes import ROOT, environment


class Color(Enum):
    RED = 1
    BLUE = 2


class Size(StrEnum):
    RED = "RED"


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True)
class Place:
    x: int
    y: int = 0


class Filter(BaseModel):
    text: str = ""
    limit: int | None = None


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([*Color, *Size]),
    st.builds(Point, st.integers(), st.integers()),
    st.builds(Place, st.integers(), st.integers()),
    st.builds(Filter, text=st.text(), limit=st.none() | st.integers()),
)
HASHABLE = PLAIN.filter(lambda value: not isinstance(value, BaseModel))
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.tuples(inner, inner),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.frozensets(HASHABLE, max_size=3),
    ),
    max_leaves=5,
)


def told_apart(value: object) -> Any:
    """What is equal only for values of equal types and contents."""
    if isinstance(value, dict):
        return frozenset((told_apart(key), told_apart(item)) for key, item in value.items())
    if isinstance(value, frozenset):
        return "set", frozenset(map(told_apart, value))
    if isinstance(value, list | tuple):
        return type(value), tuple(map(told_apart, value))
    # 0.0 and -0.0 are equal, 1.0 and Decimal(1) too, and so are equal models.
    return type(value), repr(value)


class TestDigest:
    @given(VALUES, VALUES)
    def test_differs(self, one: object, other: object) -> None:
        """For whatever differs in type or in content, and for nothing else."""
        assert (digest(one) == digest(other)) == (told_apart(one) == told_apart(other))

    @given(VALUES)
    def test_place(self, value: object) -> None:
        """A value is not what contains it."""
        outside = [[value], (value,), {"": value}, {"": [value]}, str(value) + "x", [[value]]]
        assert len({digest(each) for each in [value, *outside]}) == 7

    @given(st.dictionaries(st.text(), VALUES))
    def test_order(self, value: dict[str, Any]) -> None:
        """Counts in sequences, not in mappings and sets."""
        turned = dict(reversed(value.items()))
        assert digest(turned) == digest(value)
        assert digest(set(turned)) == digest(frozenset(value))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (1, True),
            (1, 1.0),
            (1, "1"),
            (1, Decimal(1)),
            ("a", b"a"),
            (None, "None"),
            ([], ()),
            ([1, 2], [2, 1]),
            ({"a": 1}, [("a", 1)]),
            (Point(1), Place(1)),
            (Point(1), {"x": 1, "y": 0}),
            (Color.RED, "RED"),
            (Color.RED, Size.RED),
            (date(2025, 1, 1), datetime(2025, 1, 1)),  # noqa: DTZ001
            (timedelta(1), "1 day, 0:00:00"),
            (["builtins.float", "1.0"], 1.0),
            (["mapping", []], {}),
            (["bytes", "00"], b"\0"),
            (["a", "b"], ["a,b"]),
            (["a", ["b"]], ["a", "b"]),
            (UUID(int=1), str(UUID(int=1))),
            ("\ud800", "\udbff"),
            ("\ud800", "\\ud800"),
        ],
    )
    def test_alike(self, one: object, other: object) -> None:
        """Not even what looks alike when it is written down is mistaken."""
        assert digest(one) != digest(other)

    def test_everywhere(self) -> None:
        """Whatever Python adds to its hashes in a process."""
        program = "import tests.infra.cache.test_keys as t; print(t.digest(t.samples()))"
        told = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment(PYTHONHASHSEED="1"),
            check=True,
            capture_output=True,
            text=True,
        )
        again = digest(samples())
        assert told.stdout.split() == [again]
        assert len(again) == 32

    @pytest.mark.parametrize(
        "value",
        [object(), lambda: 1, [object()], {"a": int}, iter([]), Point(object())],  # type: ignore[arg-type]
    )
    def test_unsuitable(self, value: object) -> None:
        """What has no content is refused, with the remedy."""
        with pytest.raises(TypeError, match=r"cannot be part of a cache key; .* in `ignore`\."):
            digest(value)

    def test_generator(self) -> None:
        """And is not used up."""

        def numbers() -> Iterator[int]:
            yield 1

        generator = numbers()
        with pytest.raises(TypeError, match=r"A builtins\.generator cannot be"):
            digest(generator)
        assert list(generator) == [1]


def samples() -> list[Any]:
    """One of everything."""
    return [
        *(None, True, 1, 1.5, "text", b"bytes", Decimal("1.10"), date(2025, 1, 1)),
        *(datetime(2025, 1, 1, tzinfo=UTC), timedelta(1), UUID(int=1), Color.RED, Size.RED),
        *(Point(1), Filter(text="a"), {"a", "b", "c", "d"}, frozenset({1, "a"}), (1, 2)),
        {"a": 1, "b": [{2: [3]}]},
    ]


class TestSchema:
    def test_of_a_type(self) -> None:
        """The same shape has the same digits, another shape has others."""

        class Before(BaseModel):
            name: str

        class After(BaseModel):
            name: str
            weight: int = 0

        digits = [
            schema_digest(TypeAdapter(kind)) for kind in (Before, Before, After, list[Before])
        ]
        assert digits[0] == digits[1]
        assert len({*digits}) == 3
        assert len(digits[0]) == 8


ARGUMENTS = st.dictionaries(st.text(), st.one_of(PLAIN, st.sampled_from([0, False, "0", "a" * 65])))


@given(asked=st.lists(ARGUMENTS))
def test_remembered_digests_are_the_same(asked: list[dict[str, Any]]) -> None:
    """Whatever was asked before, and in whatever order the arguments come."""
    for arguments in (each for found in asked for each in (found, found)):
        assert digest_of(arguments) == digest(arguments)
        assert digest_of(dict(reversed(arguments.items()))) == digest(arguments)
