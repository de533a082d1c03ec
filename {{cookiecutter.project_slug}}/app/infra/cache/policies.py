"""What the cache of responses keeps, and whom it serves with it: RFC 9111, without any network."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from urllib.parse import quote

Header = tuple[bytes, bytes]

# RFC 9111, section 1.2.2: what is more counts as this.
_LONGEST_SECONDS = 2**31
_DIRECTIVE = re.compile(rb'([^\s,=]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]*)))?')
_ENTITY_TAG = re.compile(rb'(?:W/)?("[^"]*")')
_ETAG_BYTES = 16
# Of a signed integer of 64 bits.
_ID_DIGITS = 19
# Neither spaces, which separate tags, nor what could end the header.
_SAFE_IN_TAGS = "!#$&'()*+,/:;=?@[]~"

_NEVER_KEPT = frozenset(
    {
        # Of one connection (RFC 9110, section 7.6.1; RFC 9111, section 3.1).
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        # Of one request.
        b"server-timing",
        b"x-process-time",
        b"x-request-id",
        # Told anew each time.
        b"age",
    }
)
_ON_NOT_MODIFIED = frozenset(
    {b"cache-control", b"content-location", b"date", b"etag", b"expires", b"vary"}
)


TagsOf = Callable[[Mapping[str, str]], Collection[str] | None]
"""The tags of a response, from the parameters in its path."""


def _untagged(_parameters: Mapping[str, str]) -> Collection[str]:
    return ()


def tagged_by(parameter: str, tag: Callable[[int], str]) -> TagsOf:
    """The tag of the whole number that `parameter` of the path is.

    None where it is not written plainly: the service may take `01` for 1, and nobody would outdate
    the tag of that. Nor where it has more digits than an id can have.
    """

    def tags(parameters: Mapping[str, str]) -> Collection[str] | None:
        text = parameters[parameter]
        digits = len(text) <= _ID_DIGITS and text.isascii() and text.isdecimal()
        plain = digits and str(int(text)) == text
        return [tag(int(text))] if plain else None

    return tags


@dataclass(frozen=True, slots=True)
class ResponsePolicy:
    """How the responses of a route are cached.

    What the application itself says in `Cache-Control` or `Expires` wins over the times below.
    """

    ttl_seconds: float
    """How long a response is fresh here; a little less, at random."""
    tags: TagsOf = _untagged
    """From the parameters in the path, as they were sent: for numbers, use `tagged_by`.

    None for a path whose response is not to be kept.
    """
    vary: tuple[str, ...] = ()
    """Request headers, besides Accept-Encoding, that the response depends on."""
    private: bool = False
    """Whether it is meant for one client: never kept here, only validated."""
    client_seconds: int = 0
    """`max-age`: how long the client need not ask again, counted from when it was made."""
    shared_seconds: int | None = None
    """`s-maxage`: the same of the caches in between; None is `ttl_seconds`, rounded down."""
    stale_seconds: float = 0
    """`stale-while-revalidate`: how much longer it is served while it is made anew."""
    statuses: frozenset[int] = frozenset({200})
    """206 and 304 are never kept, since they are parts of something."""
    authorized: bool = False
    """Whether responses to requests with `Authorization` are kept, for each credential its own.

    They are served without asking the application whether the credential is still good.
    """

    def covered(self) -> tuple[bytes, ...]:
        """The request headers that tell responses apart, in lower case; the first is encoding."""
        names = (*self.vary, "Authorization") if self.authorized else self.vary
        return (b"accept-encoding", *(name.lower().encode() for name in names))

    def cache_control(self, *, authorized: bool) -> bytes:
        """What clients and the caches in between are told of a response that says nothing.

        An answer to somebody with a credential must not be shared further on: `s-maxage` would
        allow it (RFC 9111, section 3.5).
        """
        if self.private or authorized:
            return b"private, max-age=%d" % self.client_seconds
        shared = int(self.ttl_seconds) if self.shared_seconds is None else self.shared_seconds
        value = b"max-age=%d, s-maxage=%d" % (self.client_seconds, shared)
        if self.stale_seconds >= 1:
            value += b", stale-while-revalidate=%d" % self.stale_seconds
        return value


@dataclass(frozen=True, slots=True)
class Demands:
    """What a request asks of caches (RFC 9111, section 5.2.1), in seconds."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int = 0
    max_stale: int | None = None

    def accept(self, age_seconds: float, ttl_seconds: float) -> bool:
        """Whether a response will do that is so old, and fresh so much longer, or less than 0."""
        if self.max_age is not None and age_seconds > self.max_age:
            return False
        if ttl_seconds > 0:
            return ttl_seconds >= self.min_fresh
        if self.max_stale is None:
            return self.max_age is None and not self.min_fresh
        return not self.min_fresh and -ttl_seconds <= self.max_stale


ANYTHING = Demands()


def demands(fields: Mapping[bytes, bytes]) -> Demands:
    """Read Cache-Control, or Pragma where there is none (RFC 9111, section 5.4)."""
    told = directives(fields.get(b"cache-control", fields.get(b"pragma", b"")))
    max_stale = _seconds(told, b"max-stale")
    return Demands(
        no_store=b"no-store" in told,
        no_cache=b"no-cache" in told,
        only_if_cached=b"only-if-cached" in told,
        max_age=_seconds(told, b"max-age"),
        min_fresh=_seconds(told, b"min-fresh") or 0,
        # Without a number, however stale it is.
        max_stale=_LONGEST_SECONDS if told.get(b"max-stale") == b"" else max_stale,
    )


def directives(value: bytes) -> dict[bytes, bytes]:
    """Of Cache-Control, by name, the first of each (RFC 9111, sections 4.2.1 and 5.2)."""
    found: dict[bytes, bytes] = {}
    for name, quoted, token in _DIRECTIVE.findall(value.lower()):
        found.setdefault(name, quoted or token)
    return found


def _seconds(told: Mapping[bytes, bytes], name: bytes) -> int | None:
    """None if it is not said; 0, the careful choice, for what is no number."""
    text = told.get(name)
    if text is None:
        return None
    if not text.isdigit():
        return 0
    return min(int(text.lstrip(b"0")[:11] or b"0"), _LONGEST_SECONDS)


def combined(headers: Iterable[Header]) -> dict[bytes, bytes]:
    """Values by lower-case name; those of one name as one list (RFC 9110, section 5.3)."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        fields[lower] = fields[lower] + b", " + value if lower in fields else value
    return fields


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a response may be served, and how old it was when it came, in seconds."""

    ttl_seconds: float
    stale_seconds: float
    age_seconds: int


def lifetime(
    policy: ResponsePolicy, status: int, fields: Mapping[bytes, bytes], now: float
) -> Lifetime | str:
    """How long a response is good for, or the reason why it is left as it is and not kept.

    Args:
        policy: of the route.
        status: of the response.
        fields: of the response, `combined`.
        now: seconds since 1970.
    """
    told = directives(fields.get(b"cache-control", b""))
    if (reason := _unkept(policy, status, fields, told)) is not None:
        return reason
    if policy.private:
        return Lifetime(0, 0, 0)
    ttl_seconds, stale_seconds = _told_ttl(told, fields, now), policy.stale_seconds
    if told or b"expires" in fields:
        stale_seconds = _seconds(told, b"stale-while-revalidate") or 0
    if b"must-revalidate" in told or b"proxy-revalidate" in told:
        stale_seconds = 0
    age_seconds = _seconds(fields, b"age") or 0
    ttl_seconds = (policy.ttl_seconds if ttl_seconds is None else ttl_seconds) - age_seconds
    return Lifetime(ttl_seconds, stale_seconds, age_seconds) if ttl_seconds > 0 else "expired"


def _unkept(
    policy: ResponsePolicy,
    status: int,
    fields: Mapping[bytes, bytes],
    told: Mapping[bytes, bytes],
) -> str | None:
    """Why a response is left as it is, if so (RFC 9111, section 3)."""
    if status not in policy.statuses:
        return "status"
    if status in (206, 304) or b"content-range" in fields:
        return "partial"
    if b"set-cookie" in fields:
        return "set-cookie"
    if fields.get(b"content-type", b"").startswith(b"text/event-stream"):
        # Nobody knows when the first event comes.
        return "stream"
    if policy.private:
        return None
    # With field names as arguments the latter two might be read more generously.
    for directive in (b"no-store", b"private", b"no-cache"):
        if directive in told:
            return directive.decode()
    varies = {name.strip() for name in fields.get(b"vary", b"").lower().split(b",")}
    return None if varies <= {b"", *policy.covered()} else "vary"


def _told_ttl(
    told: Mapping[bytes, bytes], fields: Mapping[bytes, bytes], now: float
) -> float | None:
    """What the response says itself (RFC 9111, section 4.2.1)."""
    for directive in (b"s-maxage", b"max-age"):
        if (seconds := _seconds(told, directive)) is not None:
            return seconds
    if b"expires" not in fields:
        return None
    expires = _timestamp(fields[b"expires"])
    made = _timestamp(fields.get(b"date", b""))
    return 0 if expires is None else expires - (now if made is None else made)


def _timestamp(date: bytes) -> float | None:
    """Seconds since 1970 of an HTTP date; None for anything else."""
    try:
        return parsedate_to_datetime(date.decode("ascii")).timestamp()
    except (ValueError, OverflowError):
        return None


def etag_of(fields: Mapping[bytes, bytes], body: bytes) -> bytes:
    """The application's own entity tag, or a strong one of the bytes (RFC 9110, section 8.8.3)."""
    own = fields.get(b"etag")
    return own or b'"%s"' % blake2b(body, digest_size=_ETAG_BYTES).hexdigest().encode()


def dressed(
    policy: ResponsePolicy,
    headers: Sequence[Header],
    etag: bytes,
    tags: Collection[str],
    *,
    authorized: bool,
) -> list[Header]:
    """The headers of a response as they are kept and sent, names in lower case.

    In `Surrogate-Key` tags are percent-encoded: they may hold what a client has sent.
    """
    fields = combined(headers)
    named = {name.strip() for name in fields.get(b"connection", b"").lower().split(b",")}
    dropped = {*_NEVER_KEPT, *named, b"vary", b"etag"}
    kept = [(name.lower(), value) for name, value in headers if name.lower() not in dropped]
    varies = [name for name in (fields.get(b"vary"),) if name]
    said = {name.strip() for name in fields.get(b"vary", b"").lower().split(b",")}
    # Whatever varies with everything varies with these.
    missing = [] if b"*" in said else [name for name in policy.covered() if name not in said]
    kept += [(b"etag", etag), (b"vary", b", ".join([*varies, *missing]))]
    if b"cache-control" not in fields and b"expires" not in fields:
        kept.append((b"cache-control", policy.cache_control(authorized=authorized)))
    if tags and not policy.private:
        value = " ".join(quote(tag, safe=_SAFE_IN_TAGS) for tag in tags)
        kept.append((b"surrogate-key", value.encode()))
    return kept


def not_modified(
    asked: Mapping[bytes, bytes], status: int, headers: Iterable[Header], etag: bytes
) -> bool:
    """Whether the client holds what it would get (RFC 9110, sections 13.1.2, 13.1.3, 13.2.1)."""
    if not 200 <= status < 300:
        return False
    if (held := asked.get(b"if-none-match")) is not None:
        weak = etag.removeprefix(b"W/")
        return held.strip() == b"*" or weak in _ENTITY_TAG.findall(held)
    if (since := asked.get(b"if-modified-since")) is None:
        return False
    held_from, changed = _timestamp(since), _timestamp(combined(headers).get(b"last-modified", b""))
    return held_from is not None and changed is not None and changed <= held_from


def on_not_modified(headers: Iterable[Header]) -> list[Header]:
    """Those that a 304 has as well (RFC 9110, section 15.4.5)."""
    return [header for header in headers if header[0] in _ON_NOT_MODIFIED]
