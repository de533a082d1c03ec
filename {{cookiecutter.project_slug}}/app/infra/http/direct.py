"""Handlers that are called directly: without what FastAPI keeps ready for what they do not use.

For every request it opens stacks for dependencies and files, handles errors a second time, and
makes one response of two. That is most of what a short handler costs.
"""

import inspect
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import Request, Response, params, routing
from fastapi._compat import ModelField
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.utils import request_body_to_args, request_params_to_args
from fastapi.exceptions import ResponseValidationError
from fastapi.routing import APIRoute, _extract_endpoint_context
from fastapi.utils import is_body_allowed_for_status_code
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra import timing

_JSON = "application/json"
# What FastAPI takes for JSON besides is left to it.
_JSON_TYPES = frozenset({_JSON, f"{_JSON}; charset=utf-8"})
_JSON_HEADER = (b"content-type", _JSON.encode())


Handler = Callable[[Scope, Receive, Send], Awaitable[ASGIApp | None]]
"""Answers a request; or says what is left to do where errors are handled."""


def handler(route: APIRoute) -> Handler | None:
    """Serves what `route` has matched, exactly as FastAPI would; None if that takes more.

    Asynchronous functions are called directly that have no dependencies and no forms, and that
    return what has a model, to be sent as JSON, or a response.
    """
    needs = route.dependant
    more = (
        routing.get_request_handler.__module__ != routing.__name__  # somebody watches it
        or needs.dependencies
        or needs.background_tasks_param_name
        or needs.security_scopes_param_name
        or needs.http_connection_param_name
        or (route.body_field and isinstance(route.body_field.field_info, params.Form))
        or route.max_body_size is not None
        or route.response_field is None
        or not isinstance(route.response_class, DefaultPlaceholder)
        or not inspect.iscoroutinefunction(needs.call)
        or not route.param_convertors.keys() >= set(map(_called, needs.path_params))
    )
    return None if more else _Direct(route).answer


def _called(parameter: ModelField) -> str:
    """What a parameter is called in a path."""
    return parameter.validation_alias or parameter.alias


class _Direct:
    def __init__(self, route: APIRoute) -> None:
        # As `handler` has seen.
        assert route.response_field is not None and route.dependant.call is not None  # noqa: S101, PT018
        self._call = route.dependant.call
        self._route = route
        self._field = route.response_field
        self._needs = route.dependant
        self._status = route.status_code or 200
        self._path = [(each.name, _called(each), each.validate) for each in self._needs.path_params]
        self._to_json = partial(
            self._field.serialize_json,
            include=route.response_model_include,
            exclude=route.response_model_exclude,
            by_alias=route.response_model_by_alias,
            exclude_unset=route.response_model_exclude_unset,
            exclude_defaults=route.response_model_exclude_defaults,
            exclude_none=route.response_model_exclude_none,
        )

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> ASGIApp | None:
        """As a `Handler` does."""
        told = _Told()
        read = _Read(receive)
        request = Request(scope, read.receive, send)
        try:
            values = await self._values(request, told)
            if values is None:
                return partial(self._say_what_is_wrong, read)
            read.forget()
            result = await self._call(**values)
            if isinstance(result, Response):
                return _Within(result, request)
            body = self._body(scope, result)
        except Exception as error:  # noqa: BLE001  # it is raised where it belongs
            return _Within(_Raising(error), request)
        if told.status_code is not None:
            response = Response(body, told.status_code, media_type=_JSON)
            if not is_body_allowed_for_status_code(told.status_code):
                response.body = b""
            response.raw_headers += told.raw_headers
            return _Within(response, request)
        length = (b"content-length", b"%d" % len(body))
        headers = [length, _JSON_HEADER, *told.raw_headers]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return None

    async def _say_what_is_wrong(
        self, read: "_Read", scope: Scope, _receive: Receive, send: Send
    ) -> None:
        await self._route.handle(scope, read.again, send)

    async def _values(self, request: Request, told: Response) -> dict[str, Any] | None:
        """The arguments of the function; None where FastAPI has to say what is wrong with them."""
        needs = self._needs
        values: dict[str, Any] = {}
        errors: list[Any] = []
        for name, alias, validate in self._path:
            values[name], wrong = validate(request.scope["path_params"][alias])
            errors += wrong
        for fields, given in self._parameters(request):
            found, wrong = request_params_to_args(fields, given)
            values.update(found)
            errors += wrong
        if needs.body_params and not errors:
            found, wrong = await self._from_body(request)
            values.update(found)
            errors += wrong
        if needs.request_param_name:
            values[needs.request_param_name] = request
        if needs.response_param_name:
            values[needs.response_param_name] = told
        return None if errors else values

    async def _from_body(self, request: Request) -> tuple[dict[str, Any], list[Any]]:
        try:
            if request.headers.get("content-type") not in _JSON_TYPES or not await request.body():
                return {}, [request]
            content = await request.json()
        except Exception as error:  # noqa: BLE001  # FastAPI meets it again
            return {}, [error]
        embed = self._route._embed_body_fields  # noqa: SLF001
        return await request_body_to_args(self._needs.body_params, content, embed)

    def _parameters(self, request: Request) -> Iterator[tuple[Sequence[Any], Mapping[str, Any]]]:
        """Those that are declared, and where they are; FastAPI's own order."""
        if self._needs.query_params:
            yield self._needs.query_params, request.query_params
        if self._needs.header_params:
            yield self._needs.header_params, request.headers
        if self._needs.cookie_params:
            yield self._needs.cookie_params, request.cookies

    def _body(self, scope: Scope, result: object) -> bytes:
        started = time.perf_counter()
        try:
            content, errors = self._field.validate(result, {}, loc=("response",))
            if errors:
                context = _extract_endpoint_context(self._route.endpoint)
                context["path"] = f"{scope['method']} {self._route.path_format}"
                raise ResponseValidationError(errors=errors, body=result, endpoint_ctx=context)
            return self._to_json(content)
        finally:
            timing.add("serialization", time.perf_counter() - started)


class _Told(Response):
    """What a handler says of its response before there is one."""

    def __init__(self) -> None:
        self.status_code = None  # type: ignore[assignment]
        self.background = None
        self.body = b""
        self.raw_headers = []


class _Read:
    """What has been received, which can be received again from the beginning until it is forgotten.

    What a function receives by itself, piece by piece, may be larger than the memory.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received: list[Message | Exception] = []
        self._remembers = True

    def forget(self) -> None:
        """Nothing will be received again."""
        self._received.clear()
        self._remembers = False

    async def receive(self) -> Message:
        if not self._remembers:
            return await self._receive()
        try:
            message = await self._receive()
        except Exception as error:
            self._received.append(error)
            raise
        self._received.append(message)
        return message

    async def again(self) -> Message:
        if not self._received:
            return await self._receive()
        received = self._received.pop(0)
        if isinstance(received, Exception):
            raise received
        return received


class _Within:
    """What FastAPI does in a route: errors are handled with the request that the function had."""

    def __init__(self, app: ASGIApp, request: Request) -> None:
        self._app = app
        self._request = request

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return wrap_app_handling_exceptions(self._app, self._request)(scope, receive, send)


class _Raising:
    """Raises an error once, and lets go of it, so that nothing waits for the garbage collector."""

    def __init__(self, error: Exception) -> None:
        self._errors = [error]

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        raise self._errors.pop()
