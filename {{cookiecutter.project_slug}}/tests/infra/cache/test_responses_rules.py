"""What RFC 9111, 9110 and 9211 say about a cache, case by case."""

from collections.abc import Mapping
from email.utils import formatdate

import pytest

from app.infra.cache.policies import ResponsePolicy, demands
from tests.caches import Clock
from tests.infra.cache.responding import Answer, Service

ONE_MINUTE = ResponsePolicy(ttl_seconds=60)
STALE = ResponsePolicy(ttl_seconds=60, stale_seconds=30)
LANGUAGE = ("Accept-Language",)
FRENCH = {"accept_language": "fr"}
GZIP = {"accept_encoding": "gzip"}
NOW = Clock().now
MADE = formatdate(NOW, usegmt=True)
IN_A_MINUTE = formatdate(NOW + 60, usegmt=True)
A_MINUTE_AGO = formatdate(NOW - 60, usegmt=True)


class TestStoring:
    @pytest.mark.parametrize(
        ("section", "status", "headers", "kept"),
        [
            ("3 a final status that is understood", 200, {}, True),
            ("3 a status that the policy does not name", 404, {}, False),
            ("3 an error", 500, {}, False),
            ("3 a redirect that the policy does not name", 301, {}, False),
            ("3.3 a partial response", 206, {"content-range": "bytes 0-0/2"}, False),
            ("3.3 a range in a 200", 200, {"content-range": "bytes 0-0/2"}, False),
            ("3.3 an incomplete body", 200, {"content-length": "99"}, False),
            ("3.3 a complete body", 200, {"content-length": "1"}, True),
            ("4.1 Vary *", 200, {"vary": "*"}, False),
            ("4.1 Vary * among others", 200, {"vary": "Accept-Encoding, *"}, False),
            ("4.1 Vary of what the policy does not cover", 200, {"vary": "Cookie"}, False),
            ("4.1 Vary of what every policy covers", 200, {"vary": "accept-encoding"}, True),
            ("5.2.2.1 max-age", 200, {"cache-control": "max-age=1"}, True),
            ("5.2.2.1 max-age that is over at once", 200, {"cache-control": "max-age=0"}, False),
            ("5.2.2.2 must-revalidate", 200, {"cache-control": "must-revalidate"}, True),
            ("5.2.2.4 no-cache", 200, {"cache-control": "no-cache"}, False),
            ("5.2.2.4 no-cache of a field", 200, {"cache-control": 'no-cache="a, b"'}, False),
            ("5.2.2.5 no-store", 200, {"cache-control": "no-store"}, False),
            ("5.2.2.5 in capitals", 200, {"cache-control": "No-Store"}, False),
            ("5.2.2.5 among others", 200, {"cache-control": "public,no-store , max-age=9"}, False),
            ("5.2.2.7 private", 200, {"cache-control": "private, max-age=9"}, False),
            ("5.2.2.7 private of a field", 200, {"cache-control": 'private="x"'}, False),
            ("5.2.2.9 public", 200, {"cache-control": "public"}, True),
            ("5.2.2.10 s-maxage 0", 200, {"cache-control": "max-age=9, s-maxage=0"}, False),
            ("5.2.2.10 s-maxage", 200, {"cache-control": "max-age=0, s-maxage=9"}, True),
            ("5.2.3 an unknown directive", 200, {"cache-control": "community=UCI"}, True),
            ("5.2 a quoted number", 200, {"cache-control": 'max-age="9"'}, True),
            ("4.2.1 no number", 200, {"cache-control": "max-age=soon"}, False),
            ("4.2.1 a negative number", 200, {"cache-control": "max-age=-9"}, False),
            ("4.2.1 the first of two", 200, {"cache-control": "max-age=0, max-age=9"}, False),
            ("1.2.2 a huge number", 200, {"cache-control": f"max-age={'9' * 5_000}"}, True),
            ("5.2 a word in a string", 200, {"cache-control": 'x="no-store", max-age=9'}, True),
            ("5.3 Expires", 200, {"expires": IN_A_MINUTE}, True),
            ("5.3 Expires in the past", 200, {"expires": A_MINUTE_AGO}, False),
            ("5.3 Expires at Date", 200, {"expires": IN_A_MINUTE, "date": IN_A_MINUTE}, False),
            ("5.3 an invalid Expires", 200, {"expires": "0"}, False),
            ("5.3 max-age over Expires", 200, {"expires": "0", "cache-control": "max-age=9"}, True),
            ("4.2.3 an age that leaves some", 200, {"age": "59"}, True),
            ("4.2.3 an age that leaves none", 200, {"age": "60"}, False),
            ("3.3 events without an end", 200, {"content-type": "text/event-stream"}, False),
            ("7.3 a cookie", 200, {"set-cookie": "a=b"}, False),
        ],
    )
    async def test_response(
        self, section: str, status: int, headers: Mapping[str, str], kept: bool
    ) -> None:
        """RFC 9111, by section: what is kept is served again, anything else is made anew."""
        service = Service(ONE_MINUTE, Answer(status, headers))
        first, second = await service.get(), await service.get()
        assert (service.calls == 1) == kept, section
        assert first.status == second.status == status
        assert (first.body == second.body) == kept
        assert ("stored" in first.told) == kept
        assert second.told.startswith("hit; ttl=" if kept else "fwd=uri-miss; detail=")
        for name, value in headers.items():
            assert value in first.headers[name]

    @pytest.mark.parametrize(("status", "kept"), [(404, True), (206, False), (304, False)])
    async def test_status_of_the_policy(self, status: int, kept: bool) -> None:
        """RFC 9111, sections 3 and 3.3: those that the policy names, but never a part."""
        service = Service(
            ResponsePolicy(ttl_seconds=60, statuses=frozenset({status})), Answer(status)
        )
        assert [(await service.get()).status for _ in range(2)] == [status] * 2
        assert (service.calls == 1) == kept

    async def test_too_large(self) -> None:
        """A body over the bound is passed on, and not kept."""
        service = Service(ONE_MINUTE, Answer(body=b"x" * 101), max_value_bytes=100)
        for _ in range(2):
            reply = await service.get()
            assert reply.body == b"x" * 101
            assert reply.told == "fwd=uri-miss; detail=too-large"
        assert service.calls == 2

    @pytest.mark.parametrize(
        "name", ["connection", "keep-alive", "x-private-hop", "x-request-id", "server-timing"]
    )
    async def test_headers_of_one_connection_or_request(self, name: str) -> None:
        """RFC 9111, section 3.1, and RFC 9110, section 7.6.1: those that Connection names too."""
        headers = {name: "1", "connection": "X-Private-Hop", "x-kept": "yes"}
        service = Service(ONE_MINUTE, Answer(headers=headers))
        await service.get()
        reply = await service.get()
        assert name not in reply.headers
        assert reply.headers["x-kept"] == "yes"

    async def test_two_lines_of_one_name(self) -> None:
        """RFC 9110, section 5.3: several lines are one list."""
        service = Service(ONE_MINUTE, handle=_two_lines)
        await service.get()
        await service.get()
        assert service.calls == 2


async def _two_lines(_scope: object, _receive: object, send: object) -> None:
    assert callable(send)
    lines = [(b"Cache-Control", b"max-age=9"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": lines})
    await send({"type": "http.response.body", "body": b"x"})


class TestFreshness:
    @pytest.mark.parametrize(
        ("section", "policy", "headers", "seconds", "status"),
        [
            ("4.2 within", ONE_MINUTE, {}, 59, "hit; ttl=1"),
            ("4.2 at its end", ONE_MINUTE, {}, 60, "fwd=uri-miss; stored"),
            ("4.2.1 max-age", ONE_MINUTE, {"cache-control": "max-age=90"}, 80, "hit; ttl=10"),
            ("4.2.1 less", ONE_MINUTE, {"cache-control": "max-age=9"}, 9, "fwd=uri-miss; stored"),
            (
                "4.2.1 s-maxage over max-age",
                ONE_MINUTE,
                {"cache-control": "max-age=9, s-maxage=20"},
                19,
                "hit; ttl=1",
            ),
            ("4.2.1 Expires", ONE_MINUTE, {"expires": IN_A_MINUTE}, 59, "hit; ttl=1"),
            (
                "4.2.1 Expires minus Date",
                ONE_MINUTE,
                {"expires": MADE, "date": A_MINUTE_AGO},
                59,
                "hit; ttl=1",
            ),
            ("4.2.3 Age", ONE_MINUTE, {"age": "20"}, 39, "hit; ttl=1"),
            ("4.2.3 Age, over", ONE_MINUTE, {"age": "20"}, 40, "fwd=uri-miss; stored"),
            ("RFC 5861, 3 stale", STALE, {}, 89, "hit; ttl=-29"),
            ("RFC 5861, 3 too stale", STALE, {}, 90, "fwd=uri-miss; stored"),
            (
                "RFC 5861, 3 said by the application",
                ONE_MINUTE,
                {"cache-control": "max-age=10, stale-while-revalidate=5"},
                14,
                "hit; ttl=-4",
            ),
            (
                "4.2.4 not announced",
                STALE,
                {"cache-control": "max-age=60"},
                60,
                "fwd=uri-miss; stored",
            ),
            (
                "5.2.2.2 must-revalidate",
                STALE,
                {"cache-control": "max-age=9, stale-while-revalidate=9, must-revalidate"},
                9,
                "fwd=uri-miss; stored",
            ),
            (
                "5.2.2.8 proxy-revalidate",
                STALE,
                {"cache-control": "max-age=9, stale-while-revalidate=9, proxy-revalidate"},
                9,
                "fwd=uri-miss; stored",
            ),
        ],
    )
    async def test_lifetime(
        self,
        section: str,
        policy: ResponsePolicy,
        headers: Mapping[str, str],
        seconds: int,
        status: str,
    ) -> None:
        """RFC 9111, by section: how long a response is served."""
        service = Service(policy, Answer(headers=headers))
        await service.get()
        service.clock.now += seconds
        assert (await service.get()).told == status, section
        await service.settle()

    @pytest.mark.parametrize(("said", "age"), [({}, "25"), ({"age": "5"}, "30")])
    async def test_age(self, said: Mapping[str, str], age: str) -> None:
        """RFC 9111, sections 4.2.3 and 5.1: how long it lay here, and how old it came."""
        service = Service(ONE_MINUTE, Answer(headers=said))
        assert (await service.get()).headers.get("age") == said.get("age")
        service.clock.now += 25
        assert (await service.get()).headers["age"] == age


class TestRequestDirectives:
    @pytest.mark.parametrize(
        ("section", "policy", "asked", "seconds", "status"),
        [
            ("5.2.1.1 old enough", ONE_MINUTE, "max-age=10", 10, "hit; ttl=50"),
            ("5.2.1.1 too old", ONE_MINUTE, "max-age=10", 11, "fwd=request; stored"),
            ("5.2.1.1 reload", ONE_MINUTE, "max-age=0", 1, "fwd=request; stored"),
            ("5.2.1.1 nothing stale", STALE, "max-age=99", 61, "fwd=stale; stored"),
            ("5.2.1.2 stale enough", STALE, "max-stale=5", 65, "hit; ttl=-5"),
            ("5.2.1.2 too stale", STALE, "max-stale=5", 66, "fwd=stale; stored"),
            ("5.2.1.2 however stale", STALE, "max-stale, max-age=99", 80, "hit; ttl=-20"),
            ("5.2.1.2 not kept so long", ONE_MINUTE, "max-stale", 61, "fwd=uri-miss; stored"),
            ("5.2.1.3 fresh enough", ONE_MINUTE, "min-fresh=20", 40, "hit; ttl=20"),
            ("5.2.1.3 not enough", ONE_MINUTE, "min-fresh=20", 41, "fwd=request; stored"),
            ("5.2.1.3 stale", STALE, "min-fresh=20", 61, "fwd=stale; stored"),
            ("5.2.1.4 no-cache", ONE_MINUTE, "no-cache", 1, "fwd=request; stored"),
            ("5.2.1.5 no-store", ONE_MINUTE, "no-store", 1, "fwd=request; detail=no-store"),
            ("5.2.1.6 no-transform", ONE_MINUTE, "no-transform", 1, "hit; ttl=59"),
            ("5.2.1.7 only-if-cached", ONE_MINUTE, "only-if-cached", 1, "hit; ttl=59"),
            ("5.2.1.7 nothing", ONE_MINUTE, "only-if-cached", 60, "detail=only-if-cached"),
            (
                "5.2.1.7 nothing that fits",
                ONE_MINUTE,
                "only-if-cached, max-age=1",
                9,
                "detail=only-if-cached",
            ),
            ("5.2.3 unknown", ONE_MINUTE, "fast", 1, "hit; ttl=59"),
            ("4.2.1 no number", ONE_MINUTE, "max-age=x", 1, "fwd=request; stored"),
        ],
    )
    async def test_directive(
        self, section: str, policy: ResponsePolicy, asked: str, seconds: int, status: str
    ) -> None:
        """RFC 9111, by section: what a client may ask."""
        service = Service(policy)
        await service.get()
        service.clock.now += seconds
        reply = await service.get(cache_control=asked)
        assert reply.told == status, section
        assert reply.status == (504 if status == "detail=only-if-cached" else 200)
        await service.settle()

    async def test_no_cache_renews_what_is_kept(self) -> None:
        """RFC 9111, section 5.2.1.4: whoever reloads does so for everybody."""
        service = Service(ONE_MINUTE)
        await service.get()
        service.clock.now += 1
        assert (await service.get(cache_control="no-cache")).body == b"2"
        assert (await service.get()).body == b"2"

    async def test_no_store_leaves_no_trace(self) -> None:
        """RFC 9111, section 5.2.1.5: neither of the request nor of its response."""
        service = Service(ONE_MINUTE)
        await service.get(cache_control="no-store")
        assert (await service.get()).told == "fwd=uri-miss; stored"

    @pytest.mark.parametrize(
        ("fields", "fresh_only"),
        [({b"pragma": b"no-cache"}, True), ({b"pragma": b"x", b"cache-control": b""}, False)],
    )
    def test_pragma(self, fields: Mapping[bytes, bytes], fresh_only: bool) -> None:
        """RFC 9111, section 5.4: it counts where there is no Cache-Control."""
        assert demands(fields).no_cache == fresh_only
        assert not demands({b"pragma": b"no-cache", b"cache-control": b"max-age=1"}).no_cache


class TestVary:
    @pytest.mark.parametrize(
        ("section", "vary", "first", "second", "same"),
        [
            ("4.1 the same", LANGUAGE, FRENCH, FRENCH, True),
            ("4.1 another", LANGUAGE, FRENCH, {"accept_language": "en"}, False),
            ("4.1 none", LANGUAGE, FRENCH, {}, False),
            ("4.1 none and an empty one", LANGUAGE, {}, {"accept_language": ""}, False),
            ("4.1 what is not named", (), FRENCH, {}, True),
            ("4.1 what hardly ever matters", (), {"user_agent": "a"}, {"user_agent": "b"}, True),
            ("2 another host", (), {}, {"host": "other"}, False),
            ("12.5.3 gzip in other words", (), GZIP, {"accept_encoding": "br, GZIP;q=0.5"}, True),
            ("12.5.3 gzip refused", (), {"accept_encoding": "gzip;q=0"}, {}, True),
            ("12.5.3 gzip or not", (), GZIP, {}, False),
        ],
    )
    async def test_header(
        self,
        section: str,
        vary: tuple[str, ...],
        first: Mapping[str, str],
        second: Mapping[str, str],
        same: bool,
    ) -> None:
        """RFC 9111, section 4.1, and RFC 9110: whom a response is for."""
        service = Service(ResponsePolicy(ttl_seconds=60, vary=vary))
        bodies = [(await service.get(**headers)).body for headers in (first, second)]
        assert (bodies[0] == bodies[1]) == same, section

    @pytest.mark.parametrize("other", ["/page/2", "/page/1?", "/page/1?a=1", "/page/%31"])
    async def test_target(self, other: str) -> None:
        """RFC 9111, section 2: the key is the target as it was sent; an empty query is none."""
        service = Service(ONE_MINUTE)
        await service.get("/page/1")
        assert ((await service.get(other)).body == b"1") == (other == "/page/1?")

    async def test_scheme(self) -> None:
        """RFC 9110, section 4.3.3: http and https are different origins."""
        service = Service(ONE_MINUTE)
        await service.get()
        assert (await service.ask({**service.scope(), "scheme": "https"})).body == b"2"

    @pytest.mark.parametrize("characters", [1, 1_000])
    async def test_path_that_is_asked_for_again(self, characters: int) -> None:
        """However long it is: which route it is for is remembered of short ones."""
        service = Service(ResponsePolicy(ttl_seconds=60))
        path = f"/page/{'a' * characters}"
        told = [(await service.get(each)).told for each in (path, path, f"{path}b", path)]
        assert [each.partition(";")[0] for each in told] == ["fwd=uri-miss", "hit"] * 2
        unknown = await service.get(f"/{'a' * characters}")
        assert "cache-status" not in unknown.headers

    async def test_is_told(self) -> None:
        """RFC 9110, section 12.5.5: what the application says, and what the policy adds."""
        policy = ResponsePolicy(ttl_seconds=60, vary=("Accept-Language", "X-Market"))
        service = Service(policy, Answer(headers={"vary": "X-Market"}))
        vary = (await service.get()).headers["vary"]
        assert vary == "X-Market, accept-encoding, accept-language"


class TestAuthorization:
    @pytest.mark.parametrize("said", ["", "public", "s-maxage=9", "must-revalidate"])
    async def test_is_none_of_the_cache(self, said: str) -> None:
        """RFC 9111, section 3.5: only the policy allows it, whatever the response says."""
        service = Service(ONE_MINUTE, Answer(headers={"cache-control": said} if said else {}))
        await service.get()
        for _ in range(2):
            reply = await service.get(authorization="Bearer a")
            assert reply.told == "fwd=bypass; detail=authorization"
            assert "etag" not in reply.headers
        assert service.calls == 3
        assert (await service.get()).body == b"1"

    async def test_allowed(self) -> None:
        """RFC 9111, section 3.5: each credential has its own, which nobody shares further on."""
        service = Service(ResponsePolicy(ttl_seconds=60, authorized=True, client_seconds=5))
        a, b, nobody = {"authorization": "a"}, {"authorization": "b"}, dict[str, str]()
        first = [await service.get(**who) for who in (a, b, nobody)]
        again = [await service.get(**who) for who in (a, b, nobody)]
        assert [reply.body for reply in first] == [reply.body for reply in again]
        assert service.calls == 3
        assert again[0].headers["cache-control"] == "private, max-age=5"
        assert again[2].headers["cache-control"] == "max-age=5, s-maxage=60"
        assert again[2].headers["vary"] == "accept-encoding, authorization"
