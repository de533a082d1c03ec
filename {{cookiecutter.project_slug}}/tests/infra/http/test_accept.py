"""Which of the offered media types a client likes best (RFC 9110, section 12.5.1)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import NotAcceptable
from app.infra.http.accept import negotiate

OFFERED = ["application/x-ndjson", "text/csv"]
NDJSON, CSV = OFFERED
RANGES = ["*/*", "text/*", "application/*", "text/csv", "application/x-ndjson", "image/png"]


class TestNegotiate:
    @pytest.mark.parametrize(
        ("accept", "chosen"),
        [
            (None, NDJSON),
            ("", NDJSON),
            ("*/*", NDJSON),
            ("text/csv", CSV),
            ("TEXT/CSV", CSV),
            ("text/*", CSV),
            ("text/csv;header=present", CSV),
            ("text/csv, application/x-ndjson", NDJSON),
            ("text/csv;q=0.9, application/x-ndjson;q=0.8", CSV),
            ("text/csv;q=0.9, application/x-ndjson; q=1.0", NDJSON),
            ("text/csv ; Q=0.5 , */*;q=0.1", CSV),
            # The more specific range counts, not the better one.
            ("*/*, application/x-ndjson;q=0.1", CSV),
            ("text/*;q=0.3, text/csv;q=0.9, application/x-ndjson;q=0.5", CSV),
            ("application/x-ndjson;q=0, */*;q=0.1", CSV),
            ("text/html, application/xhtml+xml, */*;q=0.8", NDJSON),
            # What browsers and sloppy clients send.
            (",,text/csv,", CSV),
            ("text/csv;q=2", CSV),
            ("text/csv;q=0.001", CSV),
        ],
    )
    def test_takes_what_the_client_likes_best(self, accept: str | None, chosen: str) -> None:
        """Of equals the one that is offered first."""
        assert negotiate(accept, OFFERED) == chosen

    @pytest.mark.parametrize(
        "accept",
        [
            "image/png",
            "text/html, application/json",
            "*/*;q=0",
            "text/*;q=0, application/x-ndjson;q=0.0",
            "text/csv;q=high",
            "csv",
            "text/csv;q=nan",
        ],
    )
    def test_client_takes_none(self, accept: str) -> None:
        """406 that names what there is."""
        with pytest.raises(NotAcceptable) as refused:
            negotiate(accept, OFFERED)
        assert all(media_type in refused.value.detail for media_type in OFFERED)

    @given(st.text())
    def test_takes_any_header(self, accept: str) -> None:
        """It is understood or refused, and never a crash."""
        with suppress(NotAcceptable):
            assert negotiate(accept, OFFERED) in OFFERED

    @given(
        st.dictionaries(st.sampled_from(RANGES), st.integers(0, 1_000), min_size=1),
        st.permutations(RANGES),
    )
    def test_order_of_ranges_does_not_count(
        self, qualities: dict[str, int], order: list[str]
    ) -> None:
        """The chosen type is the one whose most specific range has the greatest quality."""
        accept = ", ".join(
            f"{name};q={qualities[name] / 1_000:.3f}" for name in order if name in qualities
        )

        def quality(media_type: str) -> int:
            group = f"{media_type.partition('/')[0]}/*"
            return next(
                (qualities[name] for name in (media_type, group, "*/*") if name in qualities), 0
            )

        best = max(map(quality, OFFERED))
        if best == 0:
            with pytest.raises(NotAcceptable):
                negotiate(accept, OFFERED)
        else:
            assert negotiate(accept, OFFERED) == max(OFFERED, key=quality)
