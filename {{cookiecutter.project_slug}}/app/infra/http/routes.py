"""Every route in one list, each with its whole path, and found by an index.

FastAPI keeps the routers that an application includes as a tree, and looks at every route on each
level of it, twice, until one is for the request.
"""

from collections import defaultdict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, RouteContext, _IncludedRouter, iter_route_contexts
from fastapi.telemetry._api import _route_selected
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.infra.http import direct


def flatten(app: FastAPI) -> None:
    """Put the routes of included routers in the place of these, in their order.

    A router that has more than plain routes of FastAPI stays as it is. The pages of the
    documentation, which FastAPI declares first, are asked for least, and come last.
    """
    flat = [each for route in app.router.routes for each in _flat(route)]
    urls = {app.openapi_url, app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url}
    pages = [route for route in flat if isinstance(route, Route) and route.path in urls]
    others = [route for route in flat if route not in pages]
    hidden = any(_may_take(route, page.path) for route in others for page in pages)
    app.router.routes[:] = flat if hidden else [*others, *pages]


def _may_take(route: BaseRoute, path: str) -> bool:
    return not isinstance(route, Route) or route.path_regex.match(path) is not None


def _flat(route: BaseRoute) -> list[BaseRoute]:
    return list(map(_whole, iter_route_contexts([route]))) if _is_plain(route) else [route]


def _is_plain(route: BaseRoute) -> bool:
    """Whether it is a route of FastAPI, or a router that a list of such routes says all of."""
    if not isinstance(route, _IncludedRouter):
        return type(route) is APIRoute
    return (
        not route.include_context.form_limits
        and not route.effective_low_priority_routes()
        and all(map(_is_plain, route.original_router.routes))
    )


def _whole(context: RouteContext) -> BaseRoute:
    """A route as its routers make it, which FastAPI has found out: to make it anew takes long."""
    whole = APIRoute.__new__(APIRoute)
    own = vars(context.original_route)
    vars(whole).update((name, getattr(context, name, value)) for name, value in own.items())
    return whole


_TRACED = "fastapi.telemetry"


def name_span(scope: Scope, path: str | None) -> None:
    """Call the request's span, if it has one, after the path of its route, as FastAPI would."""
    if _TRACED in scope:
        _route_selected(scope=scope, path=path)


_REST = "app.rest"


def index(app: FastAPI) -> None:
    """Let an index find the routes of `app`, and let their handlers be called directly."""
    rest = _Rest(app.router.middleware_stack)
    # Starlette awaits what it calls, and needs no coroutine.
    app.router.middleware_stack = rest  # type: ignore[assignment]
    # The innermost: next to it errors are handled.
    app.user_middleware.append(Middleware(_Index, router=app.router))


class _Index:
    """Finds plain routes by method and path, as the router would; the rest is up to it.

    What is for no route, for one that is not plain, or comes from another router goes on to the
    router. So does what is left to do by a route that is not called directly, or has failed.
    """

    def __init__(self, app: ASGIApp, *, router: APIRouter) -> None:
        self._app = app
        self._router = router
        self._routes: list[BaseRoute] = []
        self._entries = _Entries([])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = self._find(scope)
        if entry is not None:
            rest: ASGIApp | None = entry.route.handle
            if _TRACED in scope:
                name_span(scope, entry.route.path_format)
            elif entry.direct is not None:
                rest = await entry.direct(scope, receive, send)
                if rest is None:
                    return
            scope[_REST] = rest
        await self._app(scope, receive, send)

    def _find(self, scope: Scope) -> "_Entry | None":
        if scope["type"] != "http" or scope.get("root_path") or "router" in scope:
            return None
        if self._routes != self._router.routes:
            self._routes = [*self._router.routes]
            self._entries = _Entries([] if self._router.form_limits else self._routes)
        try:
            found = self._entries.find(scope["method"], scope["path"])
        except Exception:  # noqa: BLE001  # of a convertor, whose errors are handled further in
            return None
        if found is None:
            return None
        entry, parameters = found
        scope["path_params"] = {**scope.get("path_params", {}), **parameters}
        scope["router"] = self._router
        scope["endpoint"] = entry.route.endpoint
        if isinstance(entry.route, APIRoute):
            scope["route"] = entry.route
        return entry


class _Rest:
    """In the router's place: what was found has to do the rest, and the router what was not."""

    def __init__(self, router: ASGIApp) -> None:
        self._router = router

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app: ASGIApp = scope.pop(_REST, self._router)
        return app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class _Entry:
    route: Route
    direct: direct.Handler | None

    @classmethod
    def of(cls, route: Route) -> "_Entry":
        return cls(route, direct.handler(route) if isinstance(route, APIRoute) else None)


class _Entries:
    """Plain routes, all up to the first that is not: it may take anything."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._fixed: dict[tuple[str, str], _Entry] = {}
        self._patterns: defaultdict[str, list[_Entry]] = defaultdict(list)
        of_http = (route for route in routes if not isinstance(route, WebSocketRoute))
        for route in takewhile(_is_found_by_path, of_http):
            assert isinstance(route, Route)  # noqa: S101  # as was just seen
            entry = _Entry.of(route)
            for method in route.methods or ():
                earlier = self._patterns[method]
                if route.param_convertors:
                    earlier.append(entry)
                elif not any(each.route.path_regex.match(route.path) for each in earlier):
                    self._fixed.setdefault((method, route.path), entry)

    def find(self, method: str, path: str) -> tuple[_Entry, dict[str, Any]] | None:
        """The first that takes both, and its parameters."""
        entry = self._fixed.get((method, path))
        if entry is not None:
            return entry, {}
        # A line's end would be overlooked by the expressions, those of fixed paths too.
        if method in self._patterns and not path.endswith("\n"):
            for entry in self._patterns[method]:
                if match := entry.route.path_regex.match(path):
                    convertors = entry.route.param_convertors
                    values = match.groupdict().items()
                    return entry, {name: convertors[name].convert(text) for name, text in values}
        return None


def _is_found_by_path(route: BaseRoute) -> bool:
    return type(route) in (APIRoute, Route) and bool(getattr(route, "methods", None))
