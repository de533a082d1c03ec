"""Sessions in the memory of one process."""

import pytest

from app.infra.sessions import Session, Sessions
from app.infra.sessions.memory import MemorySessions, MemorySessionSettings
from app.infra.sessions.sessions import decoded
from tests.infra.sessions import contract
from tests.infra.sessions.browsers import Kept
from tests.infra.sessions.contract import begun


class TestValues(contract.Values):
    """In memory."""


class TestConcurrency(contract.Concurrency):
    """In memory."""


class TestExpiry(contract.Expiry):
    """In memory."""


class TestRotation(contract.Rotation):
    """In memory."""


class TestSignIn(contract.SignIn):
    """In memory."""


class TestEnd(contract.End):
    """In memory."""


class TestRevocation(contract.Revocation):
    """In memory."""


class TestAtRest(contract.AtRest):
    """In memory."""


class TestBounds:
    async def test_longest_idle_goes_first(self, kept: Kept) -> None:
        """What was used lately stays, also of users that signed in long ago."""
        settings = MemorySessionSettings(max_sessions=3)
        store = MemorySessions(settings, kept.clock)
        sessions = Sessions(store, settings, kept.clock)
        small = Kept(sessions, kept.clock, kept.wait, kept.raw)
        one, two, three = [await begun(small) for _ in range(3)]
        assert await sessions.read(one) is not None
        four = await begun(small)
        assert await sessions.read(two) is None
        for session_id in (three, one, four):
            assert await sessions.read(session_id) is not None
        assert len(store._kept) == 3

    async def test_users_outlive_their_sessions(self, kept: Kept) -> None:
        """A session that is used is not over because its user's name was the oldest."""
        settings = MemorySessionSettings(max_sessions=3)
        sessions = Sessions(MemorySessions(settings, kept.clock), settings, kept.clock)
        small = Kept(sessions, kept.clock, kept.wait, kept.raw)
        session = Session(sessions, None)
        await session.begin("ada")
        session_id = await session.save()
        for _ in range(5):
            assert await Session(sessions, session_id).user() == "ada"
            await begun(small)


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"null",
        b"[]",
        b'{"created": "x"}',
        b'{"created": 1, "data": 5}',
        b'{"created": 1, "user": 5, "epoch": "e"}',
        b"\xff",
    ],
)
def test_record_of_another_release(kept: bytes) -> None:
    """What does not fit is no session."""
    assert decoded(kept) is None
