"""The cache of responses at work: many who ask at once, and answers that are for one of them."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec.structs import replace
from starlette.types import Message, Receive, Scope, Send

from app.infra.cache.backend import CacheUnavailable
from app.infra.cache.entries import pack
from app.infra.cache.policies import ResponsePolicy
from tests.caches import PATIENCE_SECONDS, until
from tests.infra.cache.responding import (
    STREAM,
    WHOLE,
    Answer,
    Client,
    Reply,
    Service,
    Slow,
    asking,
    body,
    done,
    start,
    waiting,
)

ONE_MINUTE = ResponsePolicy(ttl_seconds=60)
STALE = ResponsePolicy(ttl_seconds=60, stale_seconds=60)


@pytest.fixture(autouse=True)
async def nothing_is_lost() -> AsyncIterator[None]:
    """No task ends with an error that nobody hears of, and none is left behind."""
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    yield
    # The tests themselves run in tasks of anyio's.
    await until(lambda: all("TestRunner" in repr(task) for task in asyncio.all_tasks()))
    gc.collect(1)
    assert failures == []


class TestCollapse:
    async def test_one_call_for_all(self) -> None:
        """RFC 9111, section 4: requests for the same are collapsed into one."""
        slow = Slow(WHOLE)
        service = Service(ONE_MINUTE, handle=slow)
        tasks = await asking(service, slow, 50)
        slow.let.set()
        replies = await done(tasks)
        assert service.calls == 1
        assert {reply.body for reply in replies if isinstance(reply, Reply)} == {b"1"}
        told = [reply.told for reply in replies if isinstance(reply, Reply)]
        assert told == ["fwd=uri-miss; stored", *["fwd=uri-miss; collapsed"] * 49]

    @pytest.mark.parametrize(
        ("reason", "answer"),
        [
            ("set-cookie", [start(set_cookie="who=N"), body()]),
            ("private", [start(cache_control="private"), body()]),
            ("vary", [start(vary="Cookie"), body()]),
            ("status", [start(404), body()]),
            ("stream", STREAM),
            ("extension", [start(), {"type": "http.response.pathsend", "path": "/N"}]),
            ("trailers", [{**start(), "trailers": True}, body()]),
            ("incomplete", [start(content_length="9"), body()]),
        ],
    )
    async def test_of_an_answer_for_one(self, reason: str, answer: Sequence[Message]) -> None:
        """Nobody gets what was meant for somebody else: the others ask for their own."""
        slow = Slow(answer)
        service = Service(ONE_MINUTE, handle=slow)
        tasks = await asking(service, slow, 5)
        slow.let.set()
        replies = [reply for reply in await done(tasks) if isinstance(reply, Reply)]
        assert len(replies) == service.calls == 5
        assert len({str(reply.sent[1:]) for reply in replies}) == 5
        assert {reply.told for reply in replies} == {f"fwd=uri-miss; detail={reason}"}
        assert (await service.cache.usage()).entries == 0

    async def test_of_an_error(self) -> None:
        """It is its own client's; the others are answered by what comes next."""
        slow = Slow([ValueError("first")], WHOLE)
        service = Service(ONE_MINUTE, handle=slow)
        tasks = await asking(service, slow, 5)
        slow.let.set()
        first, *others = await done(tasks)
        assert isinstance(first, ValueError)
        assert sorted(reply.body for reply in others if isinstance(reply, Reply)) == [
            b"2",
            b"3",
            b"4",
            b"5",
        ]

    async def test_of_what_was_outdated_meanwhile(self) -> None:
        """Who asks after a change does not get what was read before it."""
        slow = Slow(WHOLE)
        policy = ResponsePolicy(60, tags=lambda _: ["pages"])
        service = Service(policy, handle=slow)
        before = await asking(service, slow, 1)
        await service.cache.forget(tags=["pages"])
        slow.reached.clear()
        after = asyncio.create_task(service.get())
        slow.let.set()
        first, second = await done([*before, after])
        assert isinstance(first, Reply)
        assert isinstance(second, Reply)
        assert (first.body, second.body) == (b"1", b"2")
        assert (first.told, second.told) == ("fwd=uri-miss", "fwd=uri-miss; stored")
        assert (await service.get()).body == b"2"

    async def test_of_reloads(self) -> None:
        """RFC 9111, section 5.2.1.4: each gets what was made after it asked."""
        slow = Slow(WHOLE)
        slow.let.set()
        service = Service(ONE_MINUTE, handle=slow)
        await service.get()
        service.clock.now += 1
        slow.let.clear()
        slow.reached.clear()
        tasks = [asyncio.create_task(service.get(cache_control="no-cache")) for _ in range(5)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await slow.reached.wait()
        service.clock.now += 1
        slow.let.set()
        bodies = {reply.body for reply in await done(tasks) if isinstance(reply, Reply)}
        assert bodies == {b"2"}

    async def test_without_a_backend(self) -> None:
        """Who asks is answered; nothing is said to be kept."""
        service = Service(ONE_MINUTE)

        async def unavailable(*_: object) -> None:
            raise CacheUnavailable

        for name in ("read", "acquire"):
            setattr(service.cache.backend, name, unavailable)
        assert [(await service.get()).told for _ in range(2)] == ["fwd=uri-miss"] * 2

    async def test_over_something_else(self) -> None:
        """What does not decode is made anew."""
        service = Service(ONE_MINUTE)
        await service.get()
        kept = service.cache.backend._kept  # type: ignore[attr-defined]
        (key,) = kept._entries
        lease = await service.cache.backend.acquire(key, 1)
        assert lease is not None
        entry = await service.cache.find("page", key)
        assert entry is not None
        await service.cache.backend.keep(lease, pack(replace(entry, payload=b"?"), 10_000), 60)
        assert (await service.get()).told == "fwd=uri-miss; stored"
        assert (await service.get()).body == b"2"


class TestClientThatLeaves:
    async def leave(
        self, service: Service, slow: Slow, *, cancelled: bool, others: int
    ) -> list[Reply]:
        """What the others get who ask after a client that leaves, before the answer is let."""
        client = Client()
        task = asyncio.create_task(service.ask(service.scope(), client))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await slow.reached.wait()
        following = [asyncio.create_task(service.get()) for _ in range(others)]
        await until(lambda: waiting(service) == 1 + others)
        if cancelled:
            task.cancel()
        else:
            client.gone.set()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        assert task.cancelled() == cancelled
        slow.let.set()
        replies = [reply for reply in await done(following) if isinstance(reply, Reply)]
        await service.settle()
        assert client.sent == []
        return replies

    @pytest.mark.parametrize("cancelled", [True, False])
    async def test_first(self, cancelled: bool) -> None:
        """RFC 9111, section 4: who waits for the same answer gets it, whole, and it is kept."""
        slow = Slow(WHOLE)
        service = Service(ONE_MINUTE, handle=slow)
        (reply,) = await self.leave(service, slow, cancelled=cancelled, others=1)
        assert (reply.body, service.calls) == (b"1", 1)
        assert (await service.get()).told == "hit; ttl=60"

    @pytest.mark.parametrize("cancelled", [True, False])
    async def test_first_of_an_answer_for_one(self, cancelled: bool) -> None:
        """What was meant for who left is nobody's."""
        slow = Slow(STREAM)
        service = Service(ONE_MINUTE, handle=slow)
        (reply,) = await self.leave(service, slow, cancelled=cancelled, others=1)
        assert reply.body == b"21,22"
        assert sorted(slow.ended) == ["cancelled", "well"]

    async def test_before_its_load_begins(self) -> None:
        """What is then made for nobody, since others wait as well, ends like the rest."""
        slow = Slow(STREAM)
        service = Service(ONE_MINUTE, handle=slow)
        (once,) = await asking(service, slow, 1)
        (key,) = service.cache._flights
        once.cancel()
        await done([once])
        lease = await service.cache.backend.acquire(key, 60)
        assert lease is not None
        client = Client()
        leaving = asyncio.create_task(service.ask(service.scope(), client))
        other = asyncio.create_task(service.get())
        await until(lambda: waiting(service) == 2)
        client.gone.set()
        await asyncio.wait([leaving], timeout=PATIENCE_SECONDS)
        slow.let.set()
        await service.cache.backend.release(lease)
        (reply,) = await done([other])
        assert isinstance(reply, Reply)
        assert reply.body == b"31,32"
        assert slow.ended == ["cancelled", "cancelled", "well"]

    @pytest.mark.parametrize("cancelled", [True, False])
    async def test_only(self, cancelled: bool) -> None:
        """RFC 9111, section 3.3: nobody waits, nothing is made, nothing is kept."""
        slow = Slow(WHOLE)
        service = Service(ONE_MINUTE, handle=slow)
        await self.leave(service, slow, cancelled=cancelled, others=0)
        assert slow.ended == ["cancelled"]
        assert (await service.cache.usage()).entries == 0
        assert service.cache._flights == {}

    async def test_during_a_stream(self) -> None:
        """The application hears of it, as without the cache."""
        heard: list[str] = []

        async def handle(_scope: Scope, receive: Receive, send: Send) -> None:
            heard.append((await receive())["type"])
            await send(start())
            await send(body(more=True))
            client.gone.set()
            heard.append((await receive())["type"])

        client = Client()
        service = Service(ONE_MINUTE, handle=handle)
        await service.ask(service.scope(), client)
        assert heard == ["http.request", "http.disconnect"]
        assert len(client.sent) == 2

    async def test_during_a_stream_by_sending(self) -> None:
        """What sending raises reaches the application, and all of it ends."""
        ended: list[str] = []

        async def handle(_scope: Scope, _receive: Receive, send: Send) -> None:
            try:
                await send(start())
                await send(body(more=True))
            except OSError:
                ended.append("told")
                raise

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                raise OSError("gone")

        service = Service(ONE_MINUTE, handle=handle)
        with pytest.raises(OSError, match="gone"):
            await service.app(service.scope(), Client().receive, send)
        assert ended == ["told"]


class TestStream:
    @pytest.mark.parametrize("private", [True, False])
    async def test_arrives_message_by_message(self, private: bool) -> None:
        """Each is sent before the application makes the next."""
        client = Client()

        async def handle(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send(start())
            for number in range(3):
                await send(body(b"%d" % number, more=number < 2))
                assert client.sent[-1]["body"] == b"%d" % number

        service = Service(ResponsePolicy(60, private=private), handle=handle)
        reply = await service.ask(service.scope(), client)
        assert reply.body == b"012"
        assert "etag" not in reply.headers

    async def test_of_events_begins_at_once(self) -> None:
        """A client hears that it is connected before there is an event."""
        slow = Slow([body(more=True), body(b"")])
        client = Client()

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await send(start(content_type="text/event-stream"))
            await slow(scope, receive, send)

        service = Service(ONE_MINUTE, handle=handle)
        task = asyncio.create_task(service.ask(service.scope(), client))
        await until(lambda: client.sent)
        slow.let.set()
        assert (await task).body == b"1"


class TestFailure:
    @pytest.mark.parametrize("answer", [[], [start()], [start(), body(more=True)]])
    async def test_arrives(self, answer: Sequence[Message]) -> None:
        """The application's error, behind what it has sent before."""
        slow = Slow([*answer, ValueError("no")])
        slow.let.set()
        service = Service(ONE_MINUTE, handle=slow)
        client = Client()
        with pytest.raises(ValueError, match="no"):
            await service.ask(service.scope(), client)
        assert [message["type"] for message in client.sent] == [item["type"] for item in answer]

    async def test_after_the_answer(self) -> None:
        """What an application does at last may fail; its answer was sent, and is kept."""
        slow = Slow([*WHOLE, ValueError("no")])
        slow.let.set()
        service = Service(ONE_MINUTE, handle=slow)
        client = Client()
        with pytest.raises(ValueError, match="no"):
            await service.ask(service.scope(), client)
        assert Reply(client.sent).body == b"1"
        assert (await service.get()).told == "hit; ttl=60"

    async def test_to_end(self) -> None:
        """What comes behind the end is nobody's."""
        slow = Slow([*WHOLE, body(b"more")])
        slow.let.set()
        service = Service(ONE_MINUTE, handle=slow)
        assert [(await service.get()).body for _ in range(2)] == [b"1", b"1"]

    async def test_to_answer(self) -> None:
        """Nothing is made of nothing."""
        slow = Slow([])
        slow.let.set()
        assert (await Service(ONE_MINUTE, handle=slow).get()).sent == []


class TestStale:
    async def test_is_served_while_it_is_made_anew(self) -> None:
        """RFC 5861, section 3: nobody waits, and it is made once."""
        slow = Slow(WHOLE)
        slow.let.set()
        service = Service(STALE, handle=slow)
        await service.get()
        service.clock.now += 61
        slow.let.clear()
        slow.reached.clear()
        for _ in range(5):
            reply = await service.get()
            assert (reply.body, reply.told, reply.headers["age"]) == (b"1", "hit; ttl=-1", "61")
        await slow.reached.wait()
        slow.let.set()
        await service.settle()
        assert (await service.get()).body == b"2"
        assert service.calls == 2

    @pytest.mark.parametrize(
        "answer",
        [[ValueError("no")], STREAM, [start(500), body()], [start(set_cookie="a"), body()]],
    )
    async def test_survives_what_cannot_be_kept(self, answer: Sequence[Message]) -> None:
        """RFC 5861, section 3: it is served until it is too stale; nothing is left running."""
        slow = Slow(WHOLE, answer)
        slow.let.set()
        service = Service(STALE, handle=slow)
        await service.get()
        service.clock.now += 61
        for _ in range(2):
            assert (await service.get()).body == b"1"
            await service.settle()
        assert service.calls == 3

    async def test_is_made_anew_ahead(self) -> None:
        """What is still fresh, but not for long, costs nobody any time either."""
        service = Service(ONE_MINUTE, refresh_ahead=0.5)
        await service.get()
        service.clock.now += 31
        assert (await service.get()).told == "hit; ttl=29"
        await service.settle()
        assert (await service.get()).body == b"2"

    async def test_is_outdated_all_the_same(self) -> None:
        """What was changed is not served, however stale one may be."""
        service = Service(ResponsePolicy(60, stale_seconds=60, tags=lambda _: ["pages"]))
        await service.get()
        service.clock.now += 61
        await service.cache.forget(tags=["pages"])
        assert (await service.get()).told == "fwd=uri-miss; stored"


async def test_ages_are_whole_seconds() -> None:
    """RFC 9111, section 5.1: rounded down."""
    service = Service(ONE_MINUTE, Answer())
    await service.get()
    service.clock.now += 1.9
    assert (await service.get()).headers["age"] == "1"
