"""What sessions promise, wherever they are kept; each store's file runs it over its own `kept`."""

import asyncio
import hashlib

import pytest

from app.errors import Conflict
from app.infra.sessions import Session, SessionTooLarge
from tests.infra.sessions.browsers import Browser, Kept
from tests.problems import problem


async def begun(kept: Kept) -> str:
    """The id of a session with a value."""
    session = Session(kept.sessions, None)
    await session.set("colour", "red")
    session_id = await session.save()
    assert session_id
    return session_id


class Values:
    async def test_come_back(self, browser: Browser, other: Browser) -> None:
        """To the browser that wrote them, in its next request, and to no other."""
        value = {"a": [1, 2.5, None, True, "\u00e9\U0001f600\0"], "": {}}
        await browser.does("PUT", "/values/any", value)
        assert await browser.does("GET", "/values/any") == value
        assert await other.does("GET", "/values/any") is None
        assert await browser.does("GET", "/values/other") is None

    async def test_are_removed(self, browser: Browser) -> None:
        """By None; the session stays."""
        await browser.does("PUT", "/values/a", 1)
        await browser.does("PUT", "/values/b", 2)
        sent = browser.id
        await browser.does("PUT", "/values/a", None)
        assert browser.id == sent
        assert await browser.does("GET", "/values/a") is None
        assert await browser.does("GET", "/values/b") == 2

    async def test_of_a_request_that_failed(self, browser: Browser) -> None:
        """Are kept when the client was wrong, not when the service was."""
        await browser.ask("PUT", "/values/a?status=404", 1)
        await browser.ask("PUT", "/values/b?status=500", 2)
        assert await browser.does("GET", "/values/a") == 1
        assert await browser.does("GET", "/values/b") is None

    async def test_too_large(self, browser: Browser) -> None:
        """Together they have a bound; the request fails, and nothing of it is kept."""
        await browser.does("PUT", "/values/a", "a" * 500)
        response = await browser.ask("PUT", "/values/b", "b" * 500)
        assert "keep less" in problem(response, 413)["detail"]
        assert await browser.does("GET", "/values/b") is None
        await browser.does("PUT", "/values/a", "a" * 990)


class Concurrency:
    async def test_no_write_is_lost(self, browser: Browser) -> None:
        """Neither of several names nor, with `update`, of one."""
        await browser.does("PUT", "/values/begun", True)
        names = [f"name{number}" for number in range(10)]
        await asyncio.gather(
            *(browser.does("PUT", f"/values/{name}", name) for name in names),
            *(browser.does("POST", "/counts/all") for _ in names),
        )
        assert await browser.does("GET", "/values/all") == len(names)
        assert [await browser.does("GET", f"/values/{name}") for name in names] == names

    async def test_within_a_request(self, kept: Kept) -> None:
        """Two of its tasks can use the session at the same time."""
        session = Session(kept.sessions, await begun(kept))
        await asyncio.gather(session.set("a", 1), session.set("b", 2), session.get("colour"))
        assert [await session.get(name) for name in ("a", "b", "colour")] == [1, 2, "red"]
        await session.save()
        assert [await session.get(name) for name in ("a", "b", "colour")] == [1, 2, "red"]

    async def test_write_meanwhile(self, kept: Kept) -> None:
        """What is saved later is added to it, under a new id too; the same name is overwritten."""
        session_id = await begun(kept)
        slow, quick = Session(kept.sessions, session_id), Session(kept.sessions, session_id)
        await slow.set("colour", "green")
        await slow.rotate()
        await quick.set("colour", "blue")
        await quick.set("size", 1)
        assert await quick.save() is None
        later = Session(kept.sessions, await slow.save())
        assert (await later.get("colour"), await later.get("size")) == ("green", 1)

    async def test_both_rotate(self, kept: Kept) -> None:
        """One of them gets the session, and the other one hears that it did not."""
        session_id = await begun(kept)
        one, two = Session(kept.sessions, session_id), Session(kept.sessions, session_id)
        await one.rotate()
        await two.rotate()
        assert await one.save()
        with pytest.raises(Conflict):
            await two.save()
        assert len(await kept.raw()) == 1

    async def test_end_meanwhile(self, kept: Kept) -> None:
        """A write does not bring the session back."""
        session_id = await begun(kept)
        slow, quick = Session(kept.sessions, session_id), Session(kept.sessions, session_id)
        await slow.set("colour", "green")
        await quick.end()
        assert await quick.save() == ""
        with pytest.raises(Conflict):
            await slow.save()
        assert await kept.raw() == {}

    async def test_sign_in_after_an_end(self, kept: Kept) -> None:
        """A sign-in needs no session that it could go on with."""
        session_id = await begun(kept)
        slow, quick = Session(kept.sessions, session_id), Session(kept.sessions, session_id)
        await slow.begin("ada")
        await quick.end()
        await quick.save()
        later = Session(kept.sessions, await slow.save())
        assert (await later.user(), await later.get("colour")) == ("ada", None)

    async def test_too_large_together(self, kept: Kept) -> None:
        """Also with what another request wrote, there is a bound."""
        session_id = await begun(kept)
        slow, quick = Session(kept.sessions, session_id), Session(kept.sessions, session_id)
        await slow.set("a", "a" * 500)
        await quick.set("b", "b" * 500)
        await quick.save()
        with pytest.raises(SessionTooLarge):
            await slow.save()


class Expiry:
    async def test_idle(self, browser: Browser, kept: Kept) -> None:
        """Each use counts, reading too; requests without the session do not."""
        await browser.does("PUT", "/values/a", 1)
        for _ in range(2):
            await kept.wait(600)
            assert await browser.does("GET", "/values/a") == 1
        await kept.wait(600)
        await browser.does("GET", "/untouched")
        await kept.wait(600)
        assert await browser.does("GET", "/values/a") is None
        assert await kept.raw() == {}

    async def test_absolute(self, browser: Browser, kept: Kept) -> None:
        """However often it is used, written, or rotated."""
        await browser.does("PUT", "/values/a", 1)
        for _ in range(3):
            await kept.wait(800)
            await browser.does("POST", "/rotate")
            await browser.does("POST", "/counts/b")
        assert await browser.does("GET", "/values/b") == 3
        await kept.wait(110)
        assert await browser.does("GET", "/values/b") is None

    async def test_begins_anew_with_a_sign_in(self, browser: Browser, kept: Kept) -> None:
        """Who has just shown who they are is believed for as long as any other."""
        await browser.does("POST", "/sign-in/ada")
        for _ in range(2):
            await kept.wait(800)
            await browser.does("GET", "/user")
        await browser.does("POST", "/sign-in/ada")
        for _ in range(3):
            await kept.wait(800)
            assert await browser.does("GET", "/user") == "ada"
        await kept.wait(110)
        assert await browser.does("GET", "/user") is None

    async def test_of_what_is_long_gone(self, browser: Browser, kept: Kept) -> None:
        """A session that expired is replaced, under another id."""
        await browser.does("PUT", "/values/a", 1)
        sent = browser.id
        await kept.wait(1_010)
        await browser.does("PUT", "/values/b", 2)
        assert browser.id not in (None, sent)
        assert await browser.does("GET", "/values/a") is None
        assert len(await kept.raw()) == 1


class Rotation:
    async def test_old_id_is_invalid_at_once(self, browser: Browser, other: Browser) -> None:
        """The values go on under the new one."""
        await browser.does("PUT", "/values/a", 1)
        other.id = browser.id
        await browser.does("POST", "/rotate")
        assert browser.id != other.id
        assert await browser.does("GET", "/values/a") == 1
        assert await other.does("GET", "/values/a") is None

    async def test_without_a_session(self, browser: Browser, kept: Kept) -> None:
        """There is nothing to rotate."""
        await browser.does("POST", "/rotate")
        assert browser.id is None
        assert await kept.raw() == {}


class SignIn:
    async def test_rotates(self, browser: Browser, other: Browser) -> None:
        """Whoever knew the id before, or had planted it, is not signed in; values are kept."""
        await browser.does("PUT", "/values/basket", [1])
        other.id = browser.id
        await browser.does("POST", "/sign-in/ada")
        assert await browser.does("GET", "/user") == "ada"
        assert await browser.does("GET", "/values/basket") == [1]
        assert await other.does("GET", "/user") is None

    async def test_planted_id(self, browser: Browser) -> None:
        """An id that the service did not give is never taken over."""
        browser.id = planted = "x" * 43
        await browser.does("POST", "/sign-in/ada")
        assert browser.id != planted
        assert await browser.does("GET", "/user") == "ada"

    async def test_of_another_user(self, browser: Browser) -> None:
        """Does not inherit the values of the one before."""
        await browser.does("POST", "/sign-in/ada")
        await browser.does("PUT", "/values/basket", [1])
        await browser.does("POST", "/sign-in/bob")
        assert await browser.does("GET", "/values/basket") is None


class End:
    async def test_is_for_good(self, browser: Browser, other: Browser, kept: Kept) -> None:
        """The id is worth nothing afterwards, and the browser forgets it."""
        await browser.does("PUT", "/values/a", 1)
        other.id = browser.id
        response = await browser.ask("POST", "/sign-out")
        assert "Max-Age=0" in response.headers["set-cookie"]
        assert await other.does("GET", "/values/a") is None
        assert await kept.raw() == {}

    async def test_without_a_session(self, browser: Browser) -> None:
        """There is nothing to forget."""
        assert "set-cookie" not in (await browser.ask("POST", "/sign-out")).headers

    async def test_and_begin_another(self, kept: Kept) -> None:
        """What is written after the end belongs to a session of its own."""
        session = Session(kept.sessions, await begun(kept))
        await session.end()
        await session.set("size", 1)
        later = Session(kept.sessions, await session.save())
        assert (await later.get("colour"), await later.get("size")) == (None, 1)
        assert len(await kept.raw()) == 1


class Revocation:
    async def test_of_all_of_a_user(self, browser: Browser, other: Browser, kept: Kept) -> None:
        """Wherever they signed in; nobody else notices, and they can sign in again."""
        await browser.does("POST", "/sign-in/ada")
        await other.does("POST", "/sign-in/bob")
        await kept.sessions.revoke("ada")
        assert await browser.does("GET", "/user") is None
        assert await other.does("GET", "/user") == "bob"
        await browser.does("POST", "/sign-in/ada")
        assert await browser.does("GET", "/user") == "ada"

    async def test_of_all_but_one(self, browser: Browser, other: Browser) -> None:
        """With a sign-in in the same request."""
        await browser.does("POST", "/sign-in/ada")
        await browser.does("PUT", "/values/a", 1)
        await other.does("POST", "/sign-in/ada")
        await browser.does("POST", "/new-password")
        assert await other.does("GET", "/user") is None
        assert await browser.does("GET", "/user") == "ada"
        assert await browser.does("GET", "/values/a") == 1

    async def test_while_in_use(self, browser: Browser, kept: Kept) -> None:
        """A request that was already served brings nothing back, not even under a new id."""
        await browser.does("POST", "/sign-in/ada")
        session = Session(kept.sessions, browser.id)
        await session.set("a", 1)
        await session.rotate()
        await kept.sessions.revoke("ada")
        browser.id = await session.save()
        assert await browser.does("GET", "/user") is None

    async def test_of_nobody(self, kept: Kept) -> None:
        """Who has no session has none afterwards."""
        await kept.sessions.revoke("nobody")


class AtRest:
    async def test_only_the_digest(self, browser: Browser, kept: Kept) -> None:
        """Who reads the store cannot act as anybody."""
        await browser.does("PUT", "/values/a", 1)
        await browser.does("POST", "/sign-in/ada")
        await browser.does("PUT", "/values/a", 2)
        assert browser.id is not None
        everything = repr(await kept.raw())
        assert browser.id not in everything
        assert hashlib.sha256(browser.id.encode()).hexdigest() in everything

    async def test_nothing_without_a_write(self, browser: Browser, kept: Kept) -> None:
        """Reading makes no session, nor does None."""
        await browser.does("GET", "/values/a")
        await browser.does("GET", "/user")
        await browser.does("PUT", "/values/a", None)
        assert browser.id is None
        assert await kept.raw() == {}
