"""Every route in one list, each with its whole path.

FastAPI keeps the routers that an application includes as a tree, and looks for the route of each
request on every level of it, twice.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, _IncludedRouter, iter_route_contexts
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

_OPTIONS = signature(APIRoute).parameters.keys() - {"form_limits", "response_model"}


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
    route = context.original_route
    assert isinstance(route, APIRoute)  # noqa: S101
    options = {name: getattr(context, name) for name in _OPTIONS}
    # What a generator sends one by one FastAPI finds out from its annotation alone.
    if context.stream_item_type is None:
        options["response_model"] = context.response_model
    return _Route(**options, form_limits=route.form_limits)


class _Route(APIRoute):
    """One that sees at a glance that it is not the one."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._begins, parameter, _ = path.partition("{")
        self._is_whole = not parameter

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = scope["path"]
        other = path != self._begins if self._is_whole else not path.startswith(self._begins)
        if other and not scope.get("root_path"):
            return Match.NONE, {}
        return super().matches(scope)
