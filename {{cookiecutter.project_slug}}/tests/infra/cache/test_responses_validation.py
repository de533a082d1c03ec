"""What the cache of responses tells clients, and what it tells those that have it already."""

from collections.abc import Mapping
from email.utils import formatdate

import pytest

from app.infra.cache.policies import ResponsePolicy, tagged_by
from tests.caches import Clock
from tests.infra.cache.responding import Answer, Reply, Service

ONE_MINUTE = ResponsePolicy(ttl_seconds=60)
THEN = formatdate(Clock().now - 60, usegmt=True)
NOW = formatdate(Clock().now, usegmt=True)


class TestEntityTag:
    async def test_of_the_bytes(self) -> None:
        """RFC 9110, section 8.8.3: a strong one, the same as long as the bytes are."""
        service = Service(ONE_MINUTE, Answer(body=b"x"))
        tags = [(await service.get(path)).headers["etag"] for path in ("/page/1", "/page/2")]
        service.answer.body = b"y"
        tags.append((await service.get("/page/3")).headers["etag"])
        assert tags[0] == tags[1] != tags[2]
        assert tags[0].startswith('"')
        assert tags[0].endswith('"')

    @pytest.mark.parametrize("own", ['"7"', 'W/"7"'])
    async def test_of_the_application(self, own: str) -> None:
        """RFC 9110, section 8.8.3: it knows best."""
        service = Service(ONE_MINUTE, Answer(headers={"ETag": own}))
        for _ in range(2):
            assert (await service.get()).headers["etag"] == own

    @pytest.mark.parametrize(
        ("section", "own", "held", "match"),
        [
            ("13.1.2 the same", '"7"', '"7"', True),
            ("13.1.2 another", '"7"', '"8"', False),
            ("13.1.2 of a list", '"7"', '"6", "7","8"', True),
            ("13.1.2 none of a list", '"7"', '"6", "8"', False),
            ("13.1.2 any", '"7"', "*", True),
            ("13.1.2 a star within a tag", '"7"', '"*"', False),
            ("8.8.3.2 weak here", 'W/"7"', '"7"', True),
            ("8.8.3.2 weak there", '"7"', 'W/"7"', True),
            ("8.8.3.2 weak on both sides", 'W/"7"', 'W/"7"', True),
            ("8.8.3 a comma within a tag", '"a,b"', '"a,b"', True),
            ("8.8.3 a part of a tag", '"a,b"', '"a", "b"', False),
            ("8.8.3 without its quotes", '"7"', "7", False),
            ("8.8.3 capitals", '"a"', '"A"', False),
        ],
    )
    async def test_comparison(self, section: str, own: str, held: str, match: bool) -> None:
        """RFC 9110, by section: on a miss as on a hit, and the application does not see it."""
        service = Service(ONE_MINUTE, Answer(headers={"etag": own}, body=b"x"))
        for _ in range(2):
            reply = await service.get(if_none_match=held)
            assert reply.status == (304 if match else 200), section
            assert reply.body == (b"" if match else b"x")
        assert service.calls == 1
        assert b"if-none-match" not in dict(service.seen[0]["headers"])

    @pytest.mark.parametrize(
        ("section", "asked", "status"),
        [
            ("13.1.3 unchanged", {"if_modified_since": NOW}, 304),
            ("13.1.3 unchanged since its date", {"if_modified_since": THEN}, 304),
            ("13.1.3 changed", {"if_modified_since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
            ("13.1.3 no date", {"if_modified_since": "yesterday"}, 200),
            ("13.1.3 below If-None-Match", {"if_modified_since": NOW, "if_none_match": '"8"'}, 200),
            ("13.1.1 If-Match is for origins", {"if_match": '"8"'}, 200),
            ("13.1.4 If-Unmodified-Since is, too", {"if_unmodified_since": "x"}, 200),
        ],
    )
    async def test_other_conditions(
        self, section: str, asked: Mapping[str, str], status: int
    ) -> None:
        """RFC 9110, by section: what else clients put conditions on."""
        service = Service(ONE_MINUTE, Answer(headers={"last-modified": THEN, "etag": '"7"'}))
        assert [(await service.get(**asked)).status for _ in range(2)] == [status] * 2, section
        assert service.calls == 1

    async def test_of_no_date(self) -> None:
        """RFC 9110, section 13.1.3: without Last-Modified there is nothing to compare with."""
        service = Service(ONE_MINUTE)
        assert [(await service.get(if_modified_since=NOW)).status for _ in range(2)] == [200] * 2

    async def test_of_an_error(self) -> None:
        """RFC 9110, section 13.2.1: conditions are about what would be 2xx."""
        policy = ResponsePolicy(ttl_seconds=60, statuses=frozenset({404}))
        service = Service(policy, Answer(404))
        assert [(await service.get(if_none_match="*")).status for _ in range(2)] == [404] * 2


class TestNotModified:
    async def test_headers(self) -> None:
        """RFC 9110, section 15.4.5: those that a 200 would have, of these."""
        headers = {
            "content-location": "/page/1.json",
            "content-type": "application/json",
            "date": THEN,
            "expires": NOW,
            "x-other": "1",
            "cache-control": "max-age=9",
            "etag": '"7"',
        }
        service = Service(ONE_MINUTE, Answer(headers=headers))
        await service.get()
        reply = await service.get(if_none_match='"7"')
        assert reply.headers == {
            "content-location": "/page/1.json",
            "date": THEN,
            "expires": NOW,
            "cache-control": "max-age=9",
            "etag": '"7"',
            "vary": "accept-encoding",
            "cache-status": "edge; hit; ttl=9",
            "age": "0",
        }

    async def test_while_stale(self) -> None:
        """RFC 5861, section 3: what is stale may be held as well, and is made anew."""
        policy = ResponsePolicy(ttl_seconds=60, stale_seconds=60)
        service = Service(policy, Answer(headers={"etag": '"7"'}))
        await service.get()
        service.clock.now += 61
        assert (await service.get(if_none_match='"7"')).status == 304
        await service.settle()
        assert service.calls == 2


class TestRange:
    @pytest.mark.parametrize("condition", [{}, {"if_range": '"7"'}])
    async def test_is_answered_with_everything(self, condition: Mapping[str, str]) -> None:
        """RFC 9110, section 14.2: a range may be ignored, and is; the application sees none."""
        service = Service(ONE_MINUTE, Answer(body=b"0123456789"))
        for _ in range(2):
            reply = await service.get(range="bytes=0-0", **condition)
            assert (reply.status, reply.body) == (200, b"0123456789")
        assert service.calls == 1
        assert not {b"range", b"if-range"} & set(dict(service.seen[0]["headers"]))

    async def test_of_what_is_not_kept(self) -> None:
        """RFC 9111, section 3.3: it is the application's own business."""
        service = Service(ResponsePolicy(ttl_seconds=60, private=True), Answer(206))
        assert (await service.get(range="bytes=0-0")).status == 206
        assert dict(service.seen[0]["headers"])[b"range"] == b"bytes=0-0"


class TestCacheControl:
    @pytest.mark.parametrize(
        ("section", "policy", "value"),
        [
            ("5.2.2.10 the lifetime here", ResponsePolicy(9.9), "max-age=0, s-maxage=9"),
            ("5.2.2.1", ResponsePolicy(9, client_seconds=5), "max-age=5, s-maxage=9"),
            ("5.2.2.10", ResponsePolicy(9, shared_seconds=0), "max-age=0, s-maxage=0"),
            (
                "RFC 5861, 3",
                ResponsePolicy(9, stale_seconds=7.5),
                "max-age=0, s-maxage=9, stale-while-revalidate=7",
            ),
            (
                "RFC 5861, 3 less than one",
                ResponsePolicy(9, stale_seconds=0.5),
                "max-age=0, s-maxage=9",
            ),
            ("5.2.2.7", ResponsePolicy(9, private=True, client_seconds=5), "private, max-age=5"),
        ],
    )
    async def test_of_the_policy(self, section: str, policy: ResponsePolicy, value: str) -> None:
        """RFC 9111, by section: what others are told who keep it."""
        service = Service(policy)
        for _ in range(2):
            assert (await service.get()).headers["cache-control"] == value, section

    @pytest.mark.parametrize("own", ["no-store", "max-age=9, public", "private"])
    async def test_of_the_application(self, own: str) -> None:
        """It knows best, and the policy adds nothing."""
        service = Service(ONE_MINUTE, Answer(headers={"Cache-Control": own}))
        for _ in range(2):
            assert (await service.get()).headers.get("cache-control", own) == own

    @pytest.mark.parametrize(
        "answer", [Answer(404), Answer(headers={"set-cookie": "a=b"}), Answer(500)]
    )
    async def test_of_what_is_not_kept(self, answer: Answer) -> None:
        """RFC 9111, section 7.3: nobody else is asked to keep it either."""
        reply = await Service(ONE_MINUTE, answer).get()
        assert not {"cache-control", "etag", "vary", "surrogate-key"} & set(reply.headers)


class TestPrivate:
    async def test_is_validated_only(self) -> None:
        """RFC 9111, section 5.2.2.7: the client may keep it; the cache does not."""
        service = Service(ResponsePolicy(60, private=True), Answer(body=b"x"))
        first = await service.get(authorization="a", cookie="b")
        assert first.told == "fwd=bypass; detail=private"
        again = await service.get(if_none_match=first.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        assert service.calls == 2
        assert (await service.cache.usage()).entries == 0

    @pytest.mark.parametrize("own", ["private, max-age=0", "no-cache"])
    async def test_whatever_the_application_says(self, own: str) -> None:
        """RFC 9111, section 5.2.2.4: what must be validated can be."""
        answer = Answer(headers={"cache-control": own, "vary": "Cookie"}, body=b"x")
        service = Service(ResponsePolicy(60, private=True), answer)
        first = await service.get()
        assert first.headers["cache-control"] == own
        assert first.headers["vary"] == "Cookie, accept-encoding"
        assert (await service.get(if_none_match=first.headers["etag"])).status == 304

    async def test_conditions_reach_the_application(self) -> None:
        """RFC 9110, section 13.2: it may know without making the answer."""
        service = Service(ResponsePolicy(60, private=True), Answer(304))
        assert (await service.get(if_none_match='"1"')).status == 304
        assert dict(service.seen[0]["headers"])[b"if-none-match"] == b'"1"'

    async def test_cookie_is_not_lost(self) -> None:
        """RFC 9110, section 15.4.5: a 304 leaves out what it need not have."""
        answer = Answer(headers={"set-cookie": "a=b", "etag": '"7"'})
        service = Service(ResponsePolicy(60, private=True), answer)
        reply = await service.get(if_none_match='"7"')
        assert (reply.status, reply.headers["set-cookie"]) == (200, "a=b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", ["order-7"]),
        ("07", None),
        ("+7", None),
        ("7.0", None),
        (" 7", None),
        ("\u0667", None),
        ("1" * 5_000, None),
    ],
)
def test_tag_of_a_number(text: str, expected: list[str] | None) -> None:
    """Written otherwise, it is left alone: no other spelling is outdated with it."""
    assert tagged_by("id", "order-{}".format)({"id": text}) == expected


class TestTags:
    def told(self, reply: Reply) -> str:
        return reply.headers["surrogate-key"]

    async def test_outdate(self) -> None:
        """By the parameters in the path, and only what depends on them."""
        policy = ResponsePolicy(60, tags=lambda path: ["pages", f"page:{path['page']}"])
        service = Service(policy)
        assert self.told(await service.get()) == "pages page:1"
        assert self.told(await service.get("/page/2")) == "pages page:2"
        await service.cache.forget(tags=["page:1"])
        assert (await service.get()).body == b"3"
        assert (await service.get("/page/2")).told == "hit; ttl=60"

    async def test_that_nobody_knows(self) -> None:
        """What nothing could outdate is not kept, nor is anybody else asked to keep it."""
        service = Service(ResponsePolicy(60, tags=lambda _: None))
        for body in (b"1", b"2"):
            reply = await service.get()
            assert (reply.body, reply.told) == (body, "fwd=uri-miss; detail=no-tags")
            assert "cache-control" not in reply.headers

    async def test_cannot_write_headers(self) -> None:
        """RFC 9110, section 5.5: a path may hold anything."""
        service = Service(ResponsePolicy(60, tags=lambda path: [path["page"]]))
        reply = await service.get("/page/a%20b%0D%0Aset-cookie:%20c=d%C3%A9")
        assert self.told(reply) == "a%20b%0D%0Aset-cookie:%20c=d%C3%A9"


class TestCacheStatus:
    @pytest.mark.parametrize(
        ("section", "asked", "status"),
        [
            ("2.1 hit", {}, "hit; ttl=60"),
            ("2.2 request", {"cache_control": "no-cache"}, "fwd=request; stored"),
            ("2.2 bypass", {"authorization": "a"}, "fwd=bypass; detail=authorization"),
            ("2.2 bypass of a body", {"content_length": "3"}, "fwd=bypass; detail=content"),
            ("2.2 no body", {"content_length": "0"}, "hit; ttl=60"),
        ],
    )
    async def test_parameters(self, section: str, asked: Mapping[str, str], status: str) -> None:
        """RFC 9211, by section: what became of the request."""
        service = Service(ONE_MINUTE)
        assert (await service.get()).told == "fwd=uri-miss; stored"
        assert (await service.get(**asked)).told == status, section

    async def test_of_another_cache(self) -> None:
        """RFC 9211, section 2: a list, of which the nearest to the client is last."""
        service = Service(ONE_MINUTE, Answer(headers={"cache-status": "inner; hit"}))
        statuses = [
            value.decode()
            for name, value in (await service.get()).sent[0]["headers"]
            if name == b"cache-status"
        ]
        assert statuses == ["inner; hit", "edge; fwd=uri-miss; stored"]
