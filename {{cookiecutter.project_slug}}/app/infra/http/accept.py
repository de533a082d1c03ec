"""Which of the offered media types a client likes best."""

from collections.abc import Sequence

from app.errors import NotAcceptable


def negotiate(accept: str | None, offered: Sequence[str]) -> str:
    """The best of `offered` for an Accept header (RFC 9110, section 12.5.1).

    The first is taken when the client does not say; of equals, the earlier one.

    Raises:
        NotAcceptable: the client takes none of them.
    """
    if not accept:
        return offered[0]
    ranges = [_parse(part) for part in accept.split(",") if part.strip()]
    qualities = [_quality(media_type, ranges) for media_type in offered]
    best = max(qualities)
    if best <= 0:
        raise NotAcceptable(f"This resource comes as {' or '.join(offered)}; ask for one of them.")
    return offered[qualities.index(best)]


def _parse(part: str) -> tuple[str, float]:
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media_range, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media_range, 0.0
    return media_range, 1.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality of the most specific range that covers `media_type`."""
    for candidate in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        for media_range, quality in ranges:
            if media_range == candidate:
                return quality
    return 0.0
