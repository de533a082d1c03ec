"""Hits in front of all layers: nobody can tell them from those that go the whole way."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import hypothesis
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from app.errors import ProblemMiddleware
from app.infra.cache import Cache, ready
from app.infra.cache.memory import Memory, MemorySettings
from app.infra.cache.policies import ResponsePolicy
from app.infra.cache.ready import LearningResponseCache, ReadyMiddleware, ReadyResponses
from app.infra.cache.responses import ResponseCache
from app.infra.http.drain import Drain
from app.infra.http.head import HeadMiddleware
from app.infra.http.request import RequestMiddleware
from app.infra.http.settings import HttpSettings
from app.infra.monitoring import listening
from app.main import create_app
from app.settings import Settings
from tests.caches import LONG, PATIENCE_SECONDS, Source, value
from tests.figures import Figures
from tests.infra.cache.responding import Answer, Client, Reply, Service
from tests.recorded import recorded

STATUSES = frozenset({200, 404})
POLICY = ResponsePolicy(60, lambda path: [path["page"]], ("X-Market",), statuses=STATUSES)
# What no two responses have in common.
OWN = {b"server-timing", b"x-process-time", b"x-request-id"}

pages = APIRouter()
pages.add_api_route("/{page}", lambda: None, name="page")
routing = FastAPI()
routing.include_router(pages, prefix="/page")


class Front(Service):
    """The cache between the layers of a service; `passed` counts what the outermost lets by."""

    def __init__(self, *, with_ready: bool = True, **options: Any) -> None:
        super().__init__(POLICY, **options)
        self.passed = 0
        self.drain = Drain()
        self.ready = ReadyResponses({"page": POLICY})
        known: dict[str, Any] = {"policies": {"page": POLICY}, "name": "edge"}
        outer: dict[str, Any] = {"settings": HttpSettings(), "drain": self.drain}
        if with_ready:
            known["ready"] = self.ready
            outer |= {"ready": self.ready, "name": "edge"}
        layer = LearningResponseCache if with_ready else ResponseCache
        self.app = layer(self._serve, routes=routing.routes, **known)
        outermost = ReadyMiddleware if with_ready else RequestMiddleware
        self.front = outermost(self._count, production=False, **outer)

    @property
    def keys(self) -> list[str]:
        """Of all responses that are kept."""
        assert isinstance(self.cache.backend, Memory)
        return [key for key in self.cache.backend._kept._entries if key.startswith("{")]

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.passed += 1
        await ProblemMiddleware(HeadMiddleware(self.app))(scope, receive, send)

    async def ask(self, scope: Scope, client: Client | None = None) -> Reply:
        client = client or Client()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.front(scope, client.receive, client.send)
        # What is told of a request is told in the next turn.
        await asyncio.sleep(0)
        return Reply(client.sent)

    async def learned(self, path: str = "/page/1", **headers: str) -> Reply:
        """The hit by which a page is made ready."""
        await self.get(path, **headers)
        return await self.passes(path, **headers)

    async def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    async def passes(self, path: str = "/page/1", **headers: str) -> Reply:
        """What a request is answered that goes the whole way."""
        before = self.passed
        reply = await self.get(path, **headers)
        assert self.passed == before + 1
        return reply

    async def is_ready(self, path: str = "/page/1", **headers: str) -> Reply:
        """What a request is answered that does not."""
        before = self.passed
        reply = await self.get(path, **headers)
        assert self.passed == before
        return reply


def shared(reply: Reply) -> tuple[object, ...]:
    """All of a response but what is its own."""
    headers = [header for header in reply.sent[0]["headers"] if header[0] not in OWN]
    return reply.status, headers, reply.body


@pytest.fixture
def front() -> Front:
    return Front()


class TestPlainHit:
    async def test_is_answered_in_front(self, front: Front) -> None:
        """No other layer is asked from the second hit on, and the response is the same."""
        hit = await front.learned(user_agent="one", cookie="a=1")
        again = await front.is_ready(user_agent="another")
        assert (again.body, again.told) == (b"1", "hit; ttl=60")
        assert shared(again) == shared(hit)
        assert again.headers["x-content-type-options"] == "nosniff"
        timings = r"cache;dur=\d+\.\d\d, total;dur=\d+\.\d\d"
        assert re.fullmatch(timings, again.headers["server-timing"])

    async def test_says_what_is_its_own(self) -> None:
        """How old it is by now, and an id: that of the client, or a new one."""
        front = Front(answer=Answer(headers={"age": "3"}))
        await front.learned()
        front.clock.now += 5
        reply = await front.is_ready(x_request_id="trace-1")
        assert (reply.headers["age"], reply.told) == ("8", "hit; ttl=52")
        assert reply.headers["x-request-id"] == "trace-1"
        made = [(await front.is_ready()).headers["x-request-id"] for _ in range(2)]
        assert re.fullmatch("[0-9a-f]{32} [0-9a-f]{32}", " ".join({*made}))

    async def test_is_recorded(self, front: Front) -> None:
        """In the log and in every figure, as a hit that goes the whole way."""
        figures, labels = Figures(), ("GET", "/page/{page}")
        async with listening(figures):
            with recorded() as log:
                await front.learned(x_request_id="a")
                lookups = figures.times("cache_lookup_duration_seconds", "page")
                await front.is_ready(x_request_id="b")
        whole, line = log.of("request")[1:]
        own = {name: line[name] for name in ("time", "duration_ms")}
        assert line == {**whole, **own, "request_id": "b"}
        assert (line["route"], line["status"]) == (labels[1], 200)
        assert figures.series("http_requests_total") == {(*labels, "2xx")}
        assert figures.total("http_requests_total", *labels, "2xx") == 3
        assert figures.times("http_request_duration_seconds", *labels) == 3
        assert figures.amounts("http_response_size_bytes", *labels) == [1] * 3
        assert figures.times("cache_lookup_duration_seconds", "page") == lookups + 1
        assert (front.cache.figures["page"].hits, front.cache.figures["page"].misses) == (2, 1)
        assert front.front._log._in_flight == 0

    async def test_that_cannot_be_sent(self, front: Front) -> None:
        """Logged and counted, as where the whole way was gone."""
        await front.learned()

        async def send(_message: Message) -> None:
            raise RuntimeError("the handler is closed")

        figures = Figures()
        async with listening(figures):
            with recorded() as log:
                await front.front(front.scope(), Client().receive, send)
                await asyncio.sleep(0)
        assert [line["level"] for line in log.of("request failed")] == ["error"]
        assert len(log.of("request")) == 1
        labels = ("/page/{page}", "RuntimeError")
        assert figures.total("http_request_exceptions_total", *labels) == 1

    async def test_that_is_cancelled(self, front: Front) -> None:
        """As a server does that has waited long enough for its clients."""
        await front.learned()

        async def send(_message: Message) -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await front.front(front.scope(), Client().receive, send)
        assert front.front._log._in_flight == 0


CHANGES: dict[str, Callable[[Front], Awaitable[object]]] = {
    "tag": lambda front: front.cache.forget(tags=["1"]),
    "key": lambda front: front.cache.forget(keys=front.keys),
    "clear": lambda front: front.cache.clear(),
    "eviction": lambda front: asyncio.gather(*[front.get(f"/page/{i}") for i in range(2, 10)]),
    "expiry": lambda front: front.wait(60),
}


class TestOutdated:
    @pytest.mark.parametrize("change", CHANGES)
    async def test_is_not_served(self, change: str) -> None:
        """The next request goes the whole way to the application, whose answer is ready later."""
        front = Front(max_entries=10)
        await front.learned()
        await front.is_ready()
        await CHANGES[change](front)
        reply = await front.passes()
        assert (reply.told, reply.body) == ("fwd=uri-miss; stored", b"%d" % front.calls)
        assert (await front.passes()).told == "hit; ttl=60"
        assert (await front.is_ready()).body == reply.body

    async def test_is_refreshed(self) -> None:
        """Near its end, a hit goes the whole way, so that it is made anew."""
        front = Front(refresh_ahead=0.5)
        await front.learned()
        front.clock.now += 29
        await front.is_ready()
        front.clock.now += 1
        assert ((await front.passes()).body, front.calls) == (b"1", 1)
        await front.settle()
        assert ((await front.passes()).body, front.calls) == (b"2", 2)
        assert (await front.is_ready()).told == "hit; ttl=60"

    async def test_of_another_start(self, front: Front) -> None:
        """What one cache has is not served in place of what another has, or none."""
        await front.learned()
        front.cache = Front().cache
        assert (await front.passes()).body == b"2"
        assert (await front.ask({**front.scope(), "state": {}})).body == b"3"


WEIGHED = {
    "if_none_match": "*",
    "if_modified_since": "now",
    "cache_control": "no-cache",
    "pragma": "no-cache",
    "authorization": "Bearer x",
    "content_length": "1",
    "transfer_encoding": "chunked",
    "x_profile": "token",
}
DIFFERENT: dict[str, dict[str, Any]] = {
    "query": {"query_string": b"a=1"},
    "scheme": {"scheme": "https"},
    "prefix": {"root_path": "/a"},
    "host": {"headers": [(b"host", b"other")]},
    "encoding": {"headers": [(b"host", b"service"), (b"accept-encoding", b"gzip")]},
    "market": {"headers": [(b"host", b"service"), (b"x-market", b"eu")]},
}


async def describe(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers with what it was asked."""
    asked = {name: scope[name] for name in ("scheme", "root_path", "query_string", "headers")}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(asked).encode()})


class TestOtherRequests:
    @pytest.mark.parametrize("name", WEIGHED)
    async def test_that_some_layer_weighs(self, front: Front, name: str) -> None:
        """They go the whole way, and make nothing ready for others."""
        status = 304 if name == "if_none_match" else 200
        await front.get()
        assert (await front.passes(**{name: WEIGHED[name]})).status == status
        await front.passes()
        await front.is_ready()
        assert (await front.passes(**{name: WEIGHED[name]})).status == status

    async def test_with_another_method(self, front: Front) -> None:
        """Only GET is answered in front."""
        await front.learned()
        for method, body in (("HEAD", b""), ("POST", b"2")):
            assert (await front.ask({**front.scope(), "method": method})).body == body
        assert front.passed == 4

    @pytest.mark.parametrize("difference", DIFFERENT)
    async def test_get_their_own(self, difference: str) -> None:
        """RFC 9111, section 4: whoever asks for something else does not get what is ready."""
        front = Front(handle=describe)
        both = [front.scope(), {**front.scope(), **DIFFERENT[difference]}]
        asked = [[(await front.ask({**scope})).body for scope in both] for _ in range(4)]
        assert asked[0][0] != asked[0][1]
        assert asked == [asked[0]] * 4
        assert (front.passed, front.calls) == (4, 2)

    async def test_while_it_drains(self, front: Front) -> None:
        """Each connection is closed after its next response."""
        await front.learned()
        front.drain.begin()
        assert (await front.passes()).headers["connection"] == "close"


class TestBounds:
    async def test_of_size(self, front: Front) -> None:
        """What is large is left to the cache, and who asks in many words."""
        half = b"x" * (ready._MAX_BYTES // 2)
        answers = {"/page/1": half, "/page/2": 2 * half, f"/page/3?{half.decode()}": half}
        for path, body in answers.items():
            front.answer = Answer(body=body)
            await front.learned(path)
            await (front.is_ready if path == "/page/1" else front.passes)(path)

    async def test_of_numbers(self, front: Front) -> None:
        """What was learned first makes room."""
        for number in range(1, ready._MAX_RESPONSES + 2):
            await front.learned(f"/page/{number}")
        assert len(front.ready._ready) == ready._MAX_RESPONSES
        await front.is_ready("/page/2")
        await front.passes("/page/1")
        front.drain.begin()
        await front.passes("/page/3")
        assert len(front.ready._ready) == ready._MAX_RESPONSES


async def test_watching() -> None:
    """Memory tells whether it still has an entry, and its tags; to look is to use them."""
    settings = MemorySettings(max_entries=3)
    memory = Memory(settings)
    cache = Cache(memory, settings)
    await value(cache, Source("old", "tag"))
    entry = await cache.find("test", "{key}")
    assert entry is not None
    assert memory.watch("{other}", entry) is None
    watch = memory.watch("{key}", entry)
    assert watch is not None
    for other in "abc":
        assert watch()
        memory._kept.put(other, b"", LONG)
    await cache.forget(tags=["tag"])
    assert not watch()
    await value(cache, Source("new", "tag"))
    assert memory.watch("{key}", entry) is None


def test_silent_layers(settings: Settings) -> None:
    """Nothing is ready where something outside of the cache might have its say."""
    service, responses = FastAPI(), ReadyResponses({})
    service.add_middleware(ProblemMiddleware)
    assert ready.ready_in_front(service, {ProblemMiddleware}) is None
    service.add_middleware(LearningResponseCache, routes=[], policies={}, name="", ready=responses)
    service.add_middleware(HeadMiddleware)
    assert ready.ready_in_front(service, {HeadMiddleware}) is responses
    assert ready.ready_in_front(service, {ProblemMiddleware}) is None
    http = settings.http.model_copy(update={"allowed_origins": ["http://elsewhere"]})
    service = create_app(settings.model_copy(update={"http": http}))
    assert type(service.build_middleware_stack()) is RequestMiddleware
    service = create_app(settings)
    assert type(service.build_middleware_stack()) is ReadyMiddleware
    service.add_middleware(HeadMiddleware)
    assert type(service.build_middleware_stack()) is RequestMiddleware


Step = tuple[str, dict[str, str] | str]
PLAIN: list[dict[str, str]] = [{}, {}, {}, {"x_market": "eu"}, {"accept_encoding": "gzip"}]
REQUEST = st.sampled_from([*PLAIN * 3, *({name: wish} for name, wish in WEIGHED.items())])
CHANGE = st.sampled_from(["tag", "key", "clear", "unheard", "wait", "wait"])
STEP = st.tuples(st.sampled_from("120"), st.one_of(REQUEST, REQUEST, REQUEST, CHANGE))


@hypothesis.settings(max_examples=100)
@hypothesis.given(script=st.lists(STEP, min_size=5, max_size=40))
def test_nobody_can_tell(script: list[Step]) -> None:
    """Whatever is asked in whatever order, with ready responses or without."""
    with recorded(level="warning"):
        asyncio.run(play(script))


async def play(script: list[Step]) -> None:
    version = 0

    async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
        status = 404 if scope["path"] == "/page/0" else 200
        plain = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": status, "headers": plain})
        await send({"type": "http.response.body", "body": f"{scope['path']} {version}".encode()})

    fronts = [Front(with_ready=each, handle=answer, refresh_ahead=0.3) for each in (True, False)]
    for page, step in script:
        version += step in ("tag", "unheard")
        told: list[object] = []
        for front in fronts:
            if isinstance(step, dict):
                told.append(shared(await front.get(f"/page/{page}", x_request_id="id", **step)))
            elif step in CHANGES:
                await CHANGES[step](front)
            await front.wait(22 * (step == "wait"))
            await front.settle()
            figures = front.cache.figures["page"]
            told.append((front.keys, figures.hits, figures.misses, figures.loads))
        assert told[: len(told) // 2] == told[len(told) // 2 :]
