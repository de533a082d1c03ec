"""Rooms are opened together, and whatever was opened is closed."""

import asyncio

import pytest

from app.errors import StartupError
from app.infra.lifecycle import ended, opened
from tests.recorded import recorded


class FakeRoom:
    """A room that writes down what happens to it."""

    def __init__(self, name: str, diary: list[str], *, fails_to: str = "") -> None:
        self.name = name
        self._diary = diary
        self._fails_to = fails_to

    async def open(self) -> None:
        if self._fails_to == "open":
            raise StartupError(f"Start {self.name}.")
        self._diary.append(f"{self.name} opened")

    async def close(self) -> None:
        self._diary.append(f"{self.name} closed")
        if self._fails_to == "close":
            raise ConnectionError(f"{self.name} is gone")


class MeetingRoom(FakeRoom):
    """Opens only when all that share its barrier are being opened."""

    def __init__(self, name: str, diary: list[str], barrier: asyncio.Barrier) -> None:
        super().__init__(name, diary)
        self._barrier = barrier

    async def open(self) -> None:
        # A room that is opened alone would wait for ever.
        async with asyncio.timeout(10):
            await self._barrier.wait()
        await super().open()


class StuckRoom(FakeRoom):
    """Never opens by itself."""

    def __init__(self, name: str, diary: list[str]) -> None:
        super().__init__(name, diary)
        self.reached = asyncio.Event()

    async def open(self) -> None:
        self.reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self._diary.append(f"{self.name} cancelled")
            raise


class TestOpen:
    async def test_at_the_same_time(self) -> None:
        """The start takes as long as the slowest room, not as long as all of them."""
        diary: list[str] = []
        barrier = asyncio.Barrier(3)
        async with opened(*(MeetingRoom(name, diary, barrier) for name in "abc")):
            assert sorted(diary) == ["a opened", "b opened", "c opened"]

    async def test_time_is_logged(self) -> None:
        """One line for each room, in milliseconds."""
        with recorded() as log:
            async with opened(FakeRoom("cache", []), FakeRoom("store", [])):
                pass
        lines = log.of("room opened")
        assert sorted(line["room"] for line in lines) == ["cache", "store"]
        assert all(line["duration_ms"] >= 0 for line in lines)

    async def test_nothing(self) -> None:
        """A service without rooms starts too."""
        async with opened():
            pass


class TestFailureToOpen:
    async def test_raises_the_error_itself(self) -> None:
        """Its sentence is what the operator reads; it is in no group."""
        with pytest.raises(StartupError, match=r"^Start b\.$"):
            async with opened(FakeRoom("a", []), FakeRoom("b", [], fails_to="open")):
                pytest.fail("the service must not serve")

    async def test_closes_what_was_open(self) -> None:
        """In reverse order."""
        diary: list[str] = []
        failing = FakeRoom("c", diary, fails_to="open")
        with pytest.raises(StartupError):
            async with opened(FakeRoom("a", diary), FakeRoom("b", diary), failing):
                pytest.fail("the service must not serve")
        assert diary == ["a opened", "b opened", "b closed", "a closed"]

    async def test_cancels_what_is_still_opening(self) -> None:
        """And does not close what never was open."""
        diary: list[str] = []
        with pytest.raises(StartupError):
            async with opened(StuckRoom("a", diary), FakeRoom("b", diary, fails_to="open")):
                pytest.fail("the service must not serve")
        assert diary == ["a cancelled"]

    async def test_cancelled_from_outside(self) -> None:
        """A start that is given up closes what it has opened."""
        diary: list[str] = []
        stuck = StuckRoom("b", diary)

        async def serve() -> None:
            async with opened(FakeRoom("a", diary), stuck):
                pytest.fail("the service must not serve")

        task = asyncio.create_task(serve())
        await stuck.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert diary == ["a opened", "b cancelled", "a closed"]


class TestClose:
    async def test_in_reverse_order(self) -> None:
        """What was listed last may need what was listed first, whichever opened first."""
        diary: list[str] = []
        barrier = asyncio.Barrier(3)
        async with opened(*(MeetingRoom(name, diary, barrier) for name in "abc")):
            diary.clear()
        assert diary == ["c closed", "b closed", "a closed"]

    async def test_after_an_error(self) -> None:
        """The error goes on as it was."""
        diary: list[str] = []
        with pytest.raises(LookupError, match="own"):
            async with opened(FakeRoom("a", diary)):
                raise LookupError("own")
        assert diary == ["a opened", "a closed"]

    async def test_one_that_fails_keeps_no_other_from_it(self) -> None:
        """It is logged with its traceback, and the service ends as it would."""
        diary: list[str] = []
        rooms = (
            FakeRoom("a", diary),
            FakeRoom("b", diary, fails_to="close"),
            FakeRoom("c", diary),
        )
        with recorded() as log:
            async with opened(*rooms):
                diary.clear()
        assert diary == ["c closed", "b closed", "a closed"]
        [line] = log.of("room failed to close")
        assert line["room"] == "b"
        assert "b is gone" in line["exception"]


class TestEnded:
    async def test_lost_cancellation(self) -> None:
        """A task that loses one is cancelled again; one that there is not is no matter."""
        losses = 0

        async def lose_one() -> None:
            nonlocal losses
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                losses += 1
            await asyncio.Event().wait()

        task = asyncio.create_task(lose_one())
        await asyncio.sleep(0)
        await ended(None, task)
        assert task.cancelled()
        assert losses == 1
