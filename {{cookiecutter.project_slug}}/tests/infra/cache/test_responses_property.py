"""Whatever is asked in whatever order: what the cache serves is what the application would say."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from app.infra.cache.policies import ResponsePolicy, etag_of
from app.infra.http.compression import CompressionMiddleware, takes_gzip
from app.infra.http.head import HeadMiddleware
from tests.infra.cache.responding import Client, Reply, Service

PAGES = ("plain", "cookie", "session", "language", "private", "short", "stream", "missing", "late")
MARKET = "x-market"
Request = dict[str, str]
Step = list[Request | str] | int

# In what requests for the same page may differ, besides nothing.
DIFFERENCES: list[Request] = [
    {"query": "a=1"},
    {"method": "HEAD"},
    {"host": "other"},
    {"accept-encoding": "gzip"},
    {"accept-encoding": "br, gzip;q=0.5"},
    {"accept-encoding": "gzip;q=0"},
    {"accept-language": "fr"},
    {MARKET: "eu"},
    {"authorization": "alice"},
    {"authorization": "bob"},
    {"cookie": "alice"},
]
WISHES: list[Request] = [
    *[{}] * 16,
    {"cache-control": "no-cache"},
    {"cache-control": "no-store"},
    {"cache-control": "max-age=20"},
    {"range": "bytes=0-1"},
    {"if-none-match": "last"},
    {"if-none-match": '"other"'},
]


@st.composite
def scripts(draw: st.DrawFn) -> list[Step]:
    """Requests and writes, several at a time, and seconds that pass.

    A few clients, who differ in little, ask for one page or two, so that they meet.
    """
    first = draw(st.sampled_from([{}, *DIFFERENCES]))
    others = draw(st.lists(st.sampled_from(DIFFERENCES), min_size=1, max_size=2))
    clients = [first, *({**first, **other} for other in others)]
    pages = draw(st.lists(st.sampled_from(PAGES), min_size=1, max_size=2))
    requests = st.builds(
        lambda page, client, wish: {"path": f"/page/{page}", **client, **wish},
        st.sampled_from(pages),
        st.sampled_from(clients),
        st.sampled_from(WISHES),
    )
    together: st.SearchStrategy[Any] = st.lists(requests, min_size=1, max_size=4)
    mixed = st.lists(requests | st.sampled_from(pages), min_size=1, max_size=4)
    step = st.one_of(together, together, together, mixed, st.integers(1, 30))
    return draw(st.lists(step, min_size=8, max_size=20))


@dataclass
class World:
    """An application whose pages have versions, and which says who it speaks to.

    It knows what each page was at any time, which the cache does not.
    """

    clock: Callable[[], float]
    versions: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def write(self, page: str) -> None:
        history = self.versions.setdefault(page, [(0.0, 0)])
        history.append((self.clock(), history[-1][1] + 1))

    def versions_within(self, page: str, seconds: float) -> set[int]:
        """Those that the page had at any time of the last `seconds`."""
        history = self.versions.get(page, [(0.0, 0)])
        since = self.clock() - seconds
        before = [version for at, version in history if at <= since]
        return {*before[-1:], *(version for at, version in history if at > since)}

    def version(self, page: str) -> int:
        return self.versions.get(page, [(0.0, 0)])[-1][1]

    def answer(self, scope: Scope, version: int) -> tuple[int, dict[str, str], bytes]:
        """What it says to a request, at a version of its page; a pure function of the two."""
        asked = {name.decode(): value.decode() for name, value in scope["headers"]}
        page = scope["path"].removeprefix("/page/")
        who = asked.get("authorization", "nobody")
        said = [page, str(version), scope["query_string"].decode(), asked["host"]]
        said += [who, asked.get(MARKET, "")]
        headers = {"content-type": "text/plain"}
        match page:
            case "cookie":
                said.append(asked.get("cookie", ""))
                headers["vary"] = "Cookie"
            case "session":
                headers["set-cookie"] = f"session={asked.get('cookie', 'new')}"
                said.append(asked.get("cookie", ""))
            case "language":
                said.append(asked.get("accept-language", ""))
                headers["vary"] = "Accept-Language, Accept-Encoding"
            case "private":
                said.append(asked.get("cookie", ""))
                headers["cache-control"] = "private, max-age=60"
            case "short":
                headers["cache-control"] = "max-age=10"
            case "late":
                headers["age"] = "30"
        return 404 if page == "missing" else 200, headers, " ".join(said * 20).encode()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        page = scope["path"].removeprefix("/page/")
        status, headers, body = self.answer(scope, scope.get("version", self.version(page)))
        await asyncio.sleep(0)
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        if page == "stream":
            for index in range(0, len(body), 100):
                await send(
                    {
                        "type": "http.response.body",
                        "body": body[index : index + 100],
                        "more_body": index + 100 < len(body),
                    }
                )
        else:
            await send({"type": "http.response.body", "body": body})


POLICIES = {
    "shared": ResponsePolicy(
        40, tags=lambda path: [path["page"]], vary=(MARKET, "Accept-Language")
    ),
    "authorized": ResponsePolicy(
        40, tags=lambda path: [path["page"]], vary=(MARKET,), authorized=True
    ),
    "untagged": ResponsePolicy(40, vary=(MARKET,)),
    "stale": ResponsePolicy(
        40,
        tags=lambda path: [path["page"]],
        vary=(MARKET,),
        stale_seconds=20,
        statuses=frozenset({200, 404}),
    ),
    "closed": ResponsePolicy(40, vary=(MARKET,), private=True),
}


class Checked:
    """Asks through the cache, and compares with what the application says without it."""

    def __init__(self, policy: ResponsePolicy) -> None:
        self.policy = policy
        self.service = Service(policy, handle=self._handle, layer=_compressed)
        self.world = World(self.service.clock)
        self.app = HeadMiddleware(self.service.app)
        self.direct = HeadMiddleware(_compressed(self._handle))
        self.tags: dict[str, str] = {}
        # By page, the version before which everything was outdated.
        self.outdated: dict[str, int] = {}

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.world(scope, receive, send)

    async def write(self, page: str) -> None:
        self.world.write(page)
        version = self.world.version(page)
        await self.service.cache.forget(tags=[page])
        self.outdated[page] = version

    async def ask(self, request: Request) -> None:
        named = dict(request)
        method, query = named.pop("method", "GET"), named.pop("query", "")
        path = f"{named.pop('path')}?{query}"
        if named.get("if-none-match") == "last":
            named["if-none-match"] = self.tags.get(path, '"none"')
        scope = {**self.service.scope(path, **named), "method": method}
        page = scope["path"].removeprefix("/page/")
        oldest = self.outdated.get(page, 0)
        client = Client()
        await self.app(dict(scope), client.receive, client.send)
        versions = {*range(oldest, self.world.version(page) + 1)}
        if not self.policy.tags({"page": page}):
            versions |= self.world.versions_within(page, self.policy.ttl_seconds)
        expected = [await self.expected(scope, version) for version in versions]
        self.check(scope, Reply(client.sent), expected)

    async def expected(self, scope: Scope, version: int) -> Reply:
        """What the application says to this client, whole, at a version of the page."""
        alone = {b"if-none-match", b"range"}
        headers = [header for header in scope["headers"] if header[0] not in alone]
        client = Client()
        scope = {**scope, "headers": headers, "version": version}
        await self.direct(scope, client.receive, client.send)
        return Reply(client.sent)

    def check(self, scope: Scope, got: Reply, expected: list[Reply]) -> None:
        told = got.headers["cache-status"]
        same = ("content-type", "content-encoding", "set-cookie")
        if got.status == 304:
            asked = dict(scope["headers"])[b"if-none-match"].decode()
            assert got.headers["etag"] in asked
            assert got.body == b""
            tags = {etag_of({}, reply.body) for reply in expected}
            assert scope["method"] == "HEAD" or got.headers["etag"].encode() in tags
            return
        assert any(
            (got.status, got.body) == (reply.status, reply.body)
            and all(got.headers.get(name) == reply.headers.get(name) for name in same)
            for reply in expected
        ), told
        if "etag" in got.headers:
            self.tags[f"{scope['path']}?{scope['query_string'].decode()}"] = got.headers["etag"]
        self.check_told(scope, got, told)

    def check_told(self, scope: Scope, got: Reply, told: str) -> None:
        """What is kept nowhere is never said to be, and nobody else is told to keep it."""
        asked = {name.decode() for name, _ in scope["headers"]}
        if "set-cookie" in got.headers or self.policy.private or "detail=" in told:
            assert "hit" not in told
            assert "stored" not in told
        if "authorization" in asked:
            assert "s-maxage" not in got.headers.get("cache-control", "")
            assert self.policy.authorized or "hit" not in told
        if (
            "hit" in told
            and "max-age=20" in dict(scope["headers"]).get(b"cache-control", b"").decode()
        ):
            assert int(got.headers["age"]) <= 20
        gzip = takes_gzip(dict(scope["headers"]).get(b"accept-encoding", b"").decode())
        assert gzip or "content-encoding" not in got.headers


def _compressed(app: object) -> CompressionMiddleware:
    return CompressionMiddleware(app, minimum_bytes=500)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(POLICIES))
@settings(max_examples=60)
@given(script=scripts())
def test_nobody_can_tell(name: str, script: list[Step]) -> None:
    """RFC 9111, section 4: a response is one that the application would send to who asks.

    At this moment, or where nothing tells the cache of changes, at one within its lifetime.
    """

    asyncio.run(play(POLICIES[name], script))


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", list(POLICIES))
def test_two_who_differ_in_one_thing(name: str, page: str) -> None:
    """RFC 9111, section 4.1: one after the other, and at the same time, whatever it is."""
    one: Request = {"path": f"/page/{page}"}
    for difference in DIFFERENCES:
        other = {**one, **difference}
        script: list[Step] = [[one], [other], [one], 60, [other], [one], [page], [one, other] * 2]
        asyncio.run(play(POLICIES[name], script))


async def play(policy: ResponsePolicy, script: list[Step]) -> None:
    checked = Checked(policy)
    for step in script:
        if isinstance(step, int):
            checked.service.clock.now += step
            continue
        async with asyncio.TaskGroup() as group:
            for done in step:
                doing = checked.write if isinstance(done, str) else checked.ask
                group.create_task(doing(done))  # type: ignore[arg-type]
        await checked.service.settle()
