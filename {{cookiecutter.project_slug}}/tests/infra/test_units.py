"""Units of work are repeated, when that is safe, and no more often than is good."""

import pytest

from app.errors import Conflict, TryAgain, Unavailable
from app.infra.units import unit_of_work


class Unit:
    """Raises its errors, one each time, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.attempts = 0

    @unit_of_work
    async def run(self, result: str) -> str:
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        return result


class TestUnitOfWork:
    @pytest.mark.parametrize("collisions", [0, 1, 3])
    async def test_is_repeated(self, collisions: int) -> None:
        """As long as somebody was in the way, up to three times."""
        unit = Unit(*(TryAgain("later") for _ in range(collisions)))
        assert await unit.run("done") == "done"
        assert unit.attempts == collisions + 1

    async def test_gives_up(self) -> None:
        """With the last error, which says when to come back."""
        unit = Unit(*(TryAgain("later") for _ in range(9)))
        with pytest.raises(TryAgain) as refusal:
            await unit.run("done")
        assert unit.attempts == 4
        assert refusal.value.headers == {"Retry-After": "1"}

    @pytest.mark.parametrize("error", [Conflict("taken"), Unavailable("gone"), ValueError("wrong")])
    async def test_other_errors_are_final(self, error: Exception) -> None:
        """Nobody knows whether something was kept, or it would end the same."""
        unit = Unit(error)
        with pytest.raises(type(error)):
            await unit.run("done")
        assert unit.attempts == 1
