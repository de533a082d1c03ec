"""Every route in one list, each with its whole path.

FastAPI keeps the routers that an application includes as a tree, and looks for the route of each
request on every level of it, twice.
"""

from functools import cached_property

from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, _IncludedRouter, iter_route_contexts
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope


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
    whole = _Route.__new__(_Route)
    own = vars(context.original_route)
    vars(whole).update((name, getattr(context, name, value)) for name, value in own.items())
    return whole


class _Route(APIRoute):
    """One that sees at a glance that it is not the one."""

    @cached_property
    def _beginning(self) -> tuple[str, bool]:
        """Of its paths, up to the first parameter; and whether that is all."""
        beginning, parameter, _ = self.path.partition("{")
        return beginning, not parameter

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = scope["path"]
        beginning, is_all = self._beginning
        other = path != beginning if is_all else not path.startswith(beginning)
        if other and not scope.get("root_path"):
            return Match.NONE, {}
        return super().matches(scope)
