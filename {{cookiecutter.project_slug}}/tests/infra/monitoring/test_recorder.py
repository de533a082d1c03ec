"""What whoever listens to instruments makes of them, the same everywhere.

Each module beside this one that ends with `_backend` is held to it.
"""

import asyncio
import pkgutil
import uuid
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from app.infra.monitoring import (
    Counter,
    Gauge,
    Histogram,
    Recorder,
    carried,
    continued,
    failed,
    listening,
)

BACKENDS = [
    module.name
    for module in pkgutil.iter_modules([str(Path(__file__).parent)])
    if module.name.endswith("_backend")
]

COUNTED = Counter("contract_events_total", "Events of a test", ["test", "kind"])
MEASURED = Histogram("contract_duration_seconds", "Durations of a test", ["test"])
SIZED = Histogram("contract_size_bytes", "Sizes of a test", ["test"], buckets=(10.0, 100.0))
LEVEL = Gauge("contract_level", "A level of a test", ["test"])


@pytest.fixture(params=BACKENDS)
def unheard(request: pytest.FixtureRequest) -> Any:
    """A backend to which nothing is told yet."""
    return import_module(f"tests.infra.monitoring.{request.param}").Backend()


@pytest.fixture
async def backend(unheard: Any) -> AsyncIterator[Any]:
    """A backend that listens."""
    async with listening(unheard.recorder):
        yield unheard


@pytest.fixture
def test() -> str:
    """A label of the test's own: figures live as long as the process."""
    return uuid.uuid4().hex


class TestAmounts:
    async def test_counter(self, backend: Any, test: str) -> None:
        """Adds up, for each combination of labels apart."""
        COUNTED.add(test, "small")
        COUNTED.add(test, "small", amount=2.5)
        COUNTED.add(test, "large", amount=10)
        assert backend.total(COUNTED, test, "small") == 3.5
        assert backend.total(COUNTED, test, "large") == 10

    @pytest.mark.parametrize("instrument", [MEASURED, SIZED], ids=["seconds", "bytes"])
    async def test_histogram(self, backend: Any, test: str, instrument: Histogram) -> None:
        """How many, and how much in all, beyond the last bucket too."""
        for amount in (0.002, 0.25, 4_000.0, 0.25):
            instrument.observe(amount, test)
        assert backend.times(instrument, test) == 4
        assert backend.total(instrument, test) == pytest.approx(4_000.502)

    async def test_histogram_in_a_thread(self, backend: Any, test: str) -> None:
        """It has no turns."""
        await asyncio.to_thread(MEASURED.observe, 0.25, test)
        assert backend.times(MEASURED, test) == 1

    async def test_histogram_at_the_end(self, unheard: Any, test: str) -> None:
        """What was observed in the last turn is told too."""
        async with listening(unheard.recorder):
            MEASURED.observe(0.25, test)
        assert unheard.times(MEASURED, test) == 1

    async def test_gauge(self, backend: Any, test: str) -> None:
        """The last one counts."""
        for level in (3, 7, 5):
            LEVEL.set(level, test)
        assert backend.last(LEVEL, test) == 5


class TestListening:
    async def test_before_and_after(self, unheard: Any, test: str) -> None:
        """What is recorded while nobody listens is lost, and costs nobody an error."""
        COUNTED.add(test, "before")
        async with listening(unheard.recorder):
            COUNTED.add(test, "while")
        COUNTED.add(test, "after")
        heard = [unheard.total(COUNTED, test, when) for when in ("before", "while", "after")]
        assert heard == [0, 1, 0]

    async def test_instrument_that_comes_later(self, backend: Any, test: str) -> None:
        """A module may be imported when it is first needed."""
        late = Counter(f"contract_{test}_total", "Declared while somebody listens", ["test"])
        late.add(test)
        assert backend.total(late, test) == 1

    async def test_expected(self, unheard: Any, test: str) -> None:
        """Is told as 0 before anything happens, to whoever listens, whenever it was expected."""
        COUNTED.expect(test, "early")
        LEVEL.expect(test)
        assert unheard.last(COUNTED, test, "early") is None
        async with listening(unheard.recorder):
            COUNTED.expect(test, "late")
            told = [unheard.last(COUNTED, test, when) for when in ("early", "late", "never")]
            assert told == [0, 0, None]
            assert unheard.last(LEVEL, test) == 0
            COUNTED.add(test, "late")
            COUNTED.expect(test, "late")
            assert unheard.total(COUNTED, test, "late") == 1

    async def test_in_place_of_another(self, backend: Any, test: str) -> None:
        """Whoever listens within the block does so alone, and the other goes on after it."""
        async with listening(Recorder()):
            COUNTED.add(test, "hidden")
        COUNTED.add(test, "told")
        assert backend.total(COUNTED, test, "hidden") == 0
        assert backend.total(COUNTED, test, "told") == 1

    async def test_work_that_is_continued(self, backend: Any) -> None:
        """With a trace or without one, it is done once, and its errors are its caller's."""
        done = []
        with continued("work", carried()):
            done.append(1)
        with pytest.raises(LookupError), continued("work", "not a trace"):
            raise LookupError
        failed(LookupError("nobody handled it"), route="/")
        assert done == [1]
        assert backend.recorder
