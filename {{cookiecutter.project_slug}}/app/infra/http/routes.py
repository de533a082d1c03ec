"""Every route in one list, each with its whole path.

FastAPI keeps the routers that an application includes as a tree, and looks for the route of each
request on every level of it, twice.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

_OPTIONS = signature(APIRoute).parameters.keys() - {"form_limits", "response_model"}


def flatten(app: FastAPI) -> None:
    """Put the routes of included routers in the place of these, in their order.

    A router that has anything but routes of FastAPI stays as it is.
    """
    app.router.routes[:] = [each for route in app.router.routes for each in _flat(route)]


def _flat(route: BaseRoute) -> list[BaseRoute]:
    found = list(iter_route_contexts([route]))
    if all(isinstance(context.original_route, APIRoute) for context in found):
        return [_whole(context) for context in found]
    return [route]


def _whole(context: RouteContext) -> BaseRoute:
    route = context.original_route
    assert isinstance(route, APIRoute)  # noqa: S101
    options = {name: getattr(context, name) for name in _OPTIONS}
    # What a generator sends one by one FastAPI finds out from its annotation alone.
    if context.stream_item_type is None:
        options["response_model"] = context.response_model
    kind = _Route if type(route) is APIRoute else type(route)
    return kind(**options, form_limits=route.form_limits)


class _Route(APIRoute):
    """One that sees at a glance that it is not the one."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._fixed = path.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not scope["path"].startswith(self._fixed) and not scope.get("root_path"):
            return Match.NONE, {}
        return super().matches(scope)
