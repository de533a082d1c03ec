"""Responses that are at hand in the memory of this process, served in front of all other layers.

Most hits are like one before: the same page, and nothing in the request that any layer would have
to weigh. They are answered without a key to compute, an entry to decode or a layer to pass, as long
as the memory of the cache has what they were made of. All others go the whole way.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app.infra import logs
from app.infra.cache.cache import LOOKUP, Cache
from app.infra.cache.entries import Entry
from app.infra.cache.exchanges import WEIGHED, Asked, Kept, Response, Route
from app.infra.cache.figures import Figures
from app.infra.cache.policies import ResponsePolicy
from app.infra.cache.responses import ResponseCache, said_of
from app.infra.http import access
from app.infra.http.access import AccessLog, Ended
from app.infra.http.headers import Header
from app.infra.http.request import (
    RequestMiddleware,
    own_headers,
    route_template,
    tell_failure,
)
from app.infra.profiling import TOKEN_HEADER

_MAX_RESPONSES = 1_000
_MAX_BYTES = 16 * 1024

Watch = Callable[[], bool]
"""Says, without waiting, whether something is still so."""


class Watchful(Protocol):
    """A `Backend` that has entries in memory."""

    def watch(self, key: str, entry: Entry) -> Watch | None:
        """Whether memory still has `entry` and nothing has outdated it; None if it is not there."""
        ...


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Ready:
    """A response, what it was made of, and who is told that it was served."""

    cache: Cache
    figures: Figures
    route: Route
    template: str
    """Of the path, as figures and the log have it."""
    created: float
    refresh_at: float
    fresh_until: float
    response: Response
    is_kept: Watch


class ReadyResponses:
    """The responses that were served last, by what tells requests apart."""

    def __init__(self, policies: Mapping[str, ResponsePolicy]) -> None:
        covered = (policy.covered() for policy in policies.values())
        self._weighed = WEIGHED | {TOKEN_HEADER}
        self._looked_at = self._weighed.union({b"host"}, *covered)
        self._ready: dict[tuple[object, ...], Ready] = {}
        # What paths begin with of which something was ever at hand: others are not looked at.
        self._beginnings: tuple[str, ...] = ()

    def find(self, scope: Scope) -> Ready | None:
        """What answers a request, if it asks for nothing more."""
        asked = self._asked(scope) if scope["path"].startswith(self._beginnings) else None
        if asked is None:
            return None
        ready = self._ready.get(asked)
        if ready is None or ready.cache is not scope.get("state", {}).get("cache"):
            return None
        if ready.cache.clock() < ready.refresh_at and ready.is_kept():
            return ready
        del self._ready[asked]
        return None

    def learn(self, asked: Asked, kept: Kept) -> None:
        """Have what was served at hand, if memory has it and who asked wanted nothing more.

        Of errors in plain text, a layer makes problem documents.
        """
        asked_for = self._asked(asked.scope)
        response = kept.response
        if asked_for is None or kept.worn or response.status >= 400:
            return
        if _size(asked_for, response) > _MAX_BYTES:
            return
        try:
            is_kept = cast("Watchful", asked.cache.backend).watch(asked.key, kept.entry)
        except ValueError:  # something else lies there by now
            return
        if is_kept is None or not is_kept():
            return
        self._ready.pop(asked_for, None)
        while len(self._ready) >= _MAX_RESPONSES:
            del self._ready[next(iter(self._ready))]
        beginning = asked.scope.get("root_path", "") + asked.route.prefix
        if beginning not in self._beginnings:
            self._beginnings += (beginning,)
        figures = asked.cache.figures[asked.route.name]
        self._ready[asked_for] = Ready(
            asked.cache,
            figures,
            asked.route,
            route_template(asked.scope),
            kept.entry.created,
            kept.entry.refresh_at,
            kept.entry.fresh_until,
            response,
            is_kept,
        )

    def _asked(self, scope: Scope) -> tuple[object, ...] | None:
        told: list[object] = [
            scope.get("scheme"),
            scope.get("root_path"),
            scope.get("raw_path") or scope["path"],
            scope.get("query_string"),
        ]
        for name, value in scope["headers"]:
            if name in self._looked_at:
                if name in self._weighed:
                    return None
                told += name, value
        return tuple(told)


def _size(asked_for: tuple[Any, ...], response: Response) -> int:
    heads = sum(len(name) + len(value) for name, value in response.headers)
    return sum(map(len, filter(None, asked_for))) + heads + len(response.body)


class LearningResponseCache(ResponseCache):
    """The cache of responses, of which those that it serves are at hand the next time."""

    def __init__(self, *args: Any, ready: ReadyResponses, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ready = ready

    async def _hit(self, asked: Asked, kept: Kept, send: Send) -> None:
        self._ready.learn(asked, kept)
        await super()._hit(asked, kept, send)


class ReadyMiddleware(RequestMiddleware):
    """The outermost layer, which answers what is ready by itself."""

    def __init__(self, *args: Any, ready: ReadyResponses, name: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ready = ready
        self._name = name.encode()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        started = time.perf_counter()
        ready = self.find(scope)
        if ready is None:
            return super().__call__(scope, receive, send)
        return self.send(ready, started, scope, send)

    def find(self, scope: Scope) -> Ready | None:
        """What answers a request; None where the whole way has to be gone."""
        if scope["type"] != "http" or scope["method"] != "GET" or self._drain.begun:
            return None
        return self._ready.find(scope)

    async def send(self, ready: Ready, started: float, scope: Scope, send: Send) -> None:
        """Answer a request that has begun at `started`."""
        with self.hit(ready, started, scope) as hit:
            response = ready.response
            headers = [*response.headers, *hit.said(), *self.headers, *hit.own()]
            await send(
                {"type": "http.response.start", "status": response.status, "headers": headers}
            )
            await send({"type": "http.response.body", "body": response.body})

    def hit(self, ready: Ready, started: float, scope: Scope) -> "Hit":
        """Count and tell of a request that has begun at `started`; to be answered within."""
        request_id = self._request_id(scope["headers"])
        return Hit(self._log, self._name, ready, started, scope, request_id)


class Hit:
    """What is counted and told of a request that is answered so, and what its answer says of it.

    An error is logged and ends here.
    """

    def __init__(
        self,
        log: AccessLog,
        name: bytes,
        ready: Ready,
        started: float,
        scope: Scope,
        request_id: str,
    ) -> None:
        self._log = log
        self._name = name
        self._ready = ready
        self._started = started
        self._scope = scope
        self._request_id = request_id
        looked_seconds = time.perf_counter() - started
        self._parts = {"cache": looked_seconds}
        LOOKUP.observe(looked_seconds, ready.route.name)
        ready.figures.hits += 1
        scope["route"] = ready.route.context
        logs.request_id.set(request_id)
        # First of all, as everywhere: what a client has received was counted.
        access.count("GET", ready.template, ready.response.status)
        log.begin()

    def said(self) -> list[Header]:
        """By the cache of the response."""
        ready = self._ready
        now = ready.cache.clock()
        status = b"hit; ttl=%d" % (ready.fresh_until - now)
        age_seconds = max(now - ready.created, 0.0) + ready.response.age_seconds
        return said_of(self._name, status, age_seconds)

    def own(self) -> list[Header]:
        """Of this request."""
        taken_seconds = time.perf_counter() - self._started
        return own_headers(self._request_id, taken_seconds, self._parts)

    def __enter__(self) -> "Hit":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if isinstance(error, Exception):
            tell_failure(error, self._scope, self._request_id)
        seconds = time.perf_counter() - self._started
        self._log.end(
            Ended(
                "GET",
                self._ready.template,
                self._scope["path"],
                self._ready.response.status,
                seconds,
                seconds,
                len(self._ready.response.body),
                self._parts,
                logs.context(),
            )
        )
        return isinstance(error, Exception)


def ready_in_front(service: FastAPI, silent: Collection[object]) -> ReadyResponses | None:
    """What may be served in front of all layers; None where one might have something to say.

    `silent` are the classes of those that say nothing to a request that is answered so.
    """
    for middleware in service.user_middleware:
        if middleware.cls is LearningResponseCache:
            return cast("ReadyResponses", middleware.kwargs["ready"])
        if middleware.cls not in silent:
            return None
    return None
