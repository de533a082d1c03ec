"""Entity tags, and the conditions that clients put on them (RFC 9110, section 13)."""

import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from httpx2 import AsyncClient
from hypothesis import given
from hypothesis import strategies as st

from app.errors import PreconditionFailed
from app.infra.http.etags import etag, is_current, require_match

probe = APIRouter(prefix="/probe")
VERSION = 7


@probe.get("/thing")
async def read(request: Request) -> Response:
    headers = {"ETag": etag(VERSION)}
    if is_current(request.headers.get("if-none-match"), VERSION):
        return Response(status_code=304, headers=headers)
    return Response(b"x" * 5_000, headers=headers)


@probe.put("/thing")
async def write(request: Request) -> None:
    require_match(request.headers.get("if-match"), VERSION)


@pytest.fixture
def app(app: FastAPI) -> FastAPI:
    app.include_router(probe)
    return app


class TestEtag:
    @given(st.integers(min_value=1), st.integers(min_value=1))
    def test_names_one_version(self, one: int, other: int) -> None:
        """Strong, quoted, and the same for the same version alone."""
        assert etag(one).startswith('"')
        assert (etag(one) == etag(other)) == (one == other)


class TestRequireMatch:
    @pytest.mark.parametrize(
        "header",
        [
            None,
            "*",
            " * ",
            '"7"',
            ' "7" ',
            '"6", "7"',
            '"7","8"',
            '"7-gzip"',
            '"a", "7-gzip"',
            'W/"7", "7"',
        ],
    )
    def test_takes_the_version_that_was_seen(self, header: str | None) -> None:
        """Also as it was compressed, also among others, and anything without a condition."""
        require_match(header, VERSION)

    @pytest.mark.parametrize(
        "header",
        ['"6"', '"77"', 'W/"7"', 'W/"7-gzip"', "7", '"7', "", '"', '""', '"-gzip"', '"6", "8"'],
    )
    def test_refuses_any_other(self, header: str) -> None:
        """A weak tag never matches strongly; what is no tag matches nothing."""
        with pytest.raises(PreconditionFailed):
            require_match(header, VERSION)

    @given(st.text())
    def test_takes_nothing_by_accident(self, header: str) -> None:
        """Whatever is sent, it is taken or refused, and taken only with the tag in it."""
        try:
            require_match(header, VERSION)
        except PreconditionFailed:
            return
        assert header.strip() == "*" or '"7' in header


class TestIsCurrent:
    @pytest.mark.parametrize(
        "header", ["*", '"7"', 'W/"7"', '"6", W/"7"', '"7-gzip"', 'W/"7-gzip"', ' "8" , "7" ']
    )
    def test_client_holds_it(self, header: str) -> None:
        """Weak comparison: what is said is the same, however it was sent."""
        assert is_current(header, VERSION)

    @pytest.mark.parametrize("header", [None, "", '"6"', "7", 'W/"77"', 'w/"7"'])
    def test_client_holds_another(self, header: str | None) -> None:
        """Or none."""
        assert not is_current(header, VERSION)


class TestOverHttp:
    @pytest.mark.parametrize("encoding", ["gzip", "identity"])
    async def test_tag_comes_back_as_it_was_given(self, client: AsyncClient, encoding: str) -> None:
        """Compressed or not, its tag saves the next read and lets the next write through."""
        accept = {"Accept-Encoding": encoding}
        tag = (await client.get("/probe/thing", headers=accept)).headers["etag"]
        assert ("gzip" in tag) == (encoding == "gzip")
        again = await client.get("/probe/thing", headers={**accept, "If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        # As the whole response has them, or a client's cache would not know it again.
        assert again.headers["etag"] == tag
        assert again.headers["vary"] == "Accept-Encoding"
        assert (await client.put("/probe/thing", headers={"If-Match": tag})).status_code == 200

    async def test_tags_of_the_two_encodings_differ(self, client: AsyncClient) -> None:
        """A cache that holds one must not take it for the other."""
        tags = {
            (await client.get("/probe/thing", headers={"Accept-Encoding": encoding})).headers[
                "etag"
            ]
            for encoding in ("gzip", "identity")
        }
        assert len(tags) == 2
