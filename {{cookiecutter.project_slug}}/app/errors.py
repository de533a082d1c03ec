"""Errors as problem documents (RFC 9457).

A rule that fails raises a `ServiceError`; its status, its headers and its sentence reach the client
as `application/problem+json`. Everything else that goes wrong is a 500 that says nothing and logs
everything. A service that cannot start raises `StartupError`, whose sentence is all that is shown.
"""

from collections.abc import Awaitable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote

import pydantic_core
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = "application/problem+json"


class StartupError(Exception):
    """The service cannot start; the message is one sentence that names the remedy."""


class ServiceError(Exception):
    """A rule was not met; the message is one sentence for the client, with the remedy."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers


class BadRequest(ServiceError):
    status = HTTPStatus.BAD_REQUEST


class NotFound(ServiceError):
    status = HTTPStatus.NOT_FOUND


class NotAcceptable(ServiceError):
    status = HTTPStatus.NOT_ACCEPTABLE


class Conflict(ServiceError):
    status = HTTPStatus.CONFLICT


class PreconditionFailed(ServiceError):
    status = HTTPStatus.PRECONDITION_FAILED


class Unavailable(ServiceError):
    """Something that the service needs does not answer; `retry_after_seconds` is sent along."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class TryAgain(Unavailable):
    """Something was in the way of a unit of work: nothing was kept, and it may be repeated."""


class TimedOut(ServiceError):
    """Something that the service asked took longer than it may."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class FieldError(BaseModel):
    """Where a request is wrong: `pointer` into the body (RFC 6901), or the name of a parameter."""

    pointer: str | None = None
    parameter: str | None = None
    detail: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str | None = None
    errors: list[FieldError] | None = None


_SCHEMAS = "#/components/schemas/"

RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem document (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_SCHEMAS}Problem"}}},
    }
}
"""For `FastAPI(responses=…)`: what any route may answer besides its success."""


def document(openapi: dict[str, Any]) -> dict[str, Any]:
    """Add what `RESPONSES` refers to, which FastAPI only does for `application/json`."""
    schema = Problem.model_json_schema(ref_template=_SCHEMAS + "{model}")
    schemas = openapi.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(schema.pop("$defs"), Problem=schema)
    return openapi


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document, those of Starlette and FastAPI included."""

    async def on_service_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)  # noqa: S101  # what it is registered for
        return _response(request.scope, error.status, error.detail, headers=error.headers)

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        status, headers = error.status_code, error.headers
        if status < 400:
            return Response(status_code=status, headers=headers)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": _allowed_methods(request)}
        elif status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            # The rest of the body is not read.
            headers = {"Connection": "close"}
        detail = str(error.detail)
        return _response(request.scope, status, _SENTENCES.get(detail, detail), headers=headers)

    async def on_invalid_request(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        if _was_not_read(request, error.errors()):
            detail = "Send the body as JSON, with Content-Type: application/json."
            return _response(request.scope, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
        # FastAPI's frame keeps the error, which keeps the frame, and with it a body of megabytes
        # until the garbage collector comes.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return _invalid(request.scope, error.errors())

    async def on_crash(request: Request, _error: Exception) -> Response:
        detail = "The service failed; quote the request_id when you report it."
        return _response(request.scope, HTTPStatus.INTERNAL_SERVER_ERROR, detail)

    app.add_exception_handler(ServiceError, on_service_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_exception_handler(Exception, on_crash)


# A body can be wrong in more places than anyone reads.
_SHOWN_ERRORS = 100
# What libraries say, and what is more helpful.
_SENTENCES = {
    "Not Found": "There is nothing at this path.",
    "Method Not Allowed": (
        "This path does not know this method; the Allow header lists those that it knows."
    ),
    "Content Too Large": "The request body is too large; send less at once.",
    "Invalid host header": "The service does not answer to this host name.",
}


class ProblemMiddleware:
    """Turn the plain-text errors of library middleware into problem documents.

    Starlette's own middleware (trusted hosts, CORS, body limit) answers errors as `text/plain`
    without passing through the exception handlers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        plain: Message | None = None

        def send_unless_plain(message: Message) -> Awaitable[None]:
            is_error = message["type"] == "http.response.start" and message["status"] >= 400
            return (send_problem if is_error or plain is not None else send)(message)

        async def send_problem(message: Message) -> None:
            nonlocal plain
            if message["type"] == "http.response.start":
                media_type = Headers(raw=message["headers"]).get("content-type", "")
                if media_type.startswith("text/plain"):
                    plain = message
                    return
            if plain is None:
                await send(message)
                return
            if message.get("more_body", False):
                return
            status: int = plain["status"]
            text = message.get("body", b"").decode(errors="replace")
            headers = Headers(raw=plain["headers"]).mutablecopy()
            del headers["content-length"], headers["content-type"]
            response = _response(scope, status, _SENTENCES.get(text, f"{text}."))
            response.headers.update(headers)
            plain = None
            await response(scope, receive, send)

        return self.app(scope, receive, send_unless_plain)


def _allowed_methods(request: Request) -> str:
    """All methods of a path; the router names only those of the first route that matches it."""
    methods = {"HEAD"}
    for route in iter_route_contexts(request.app.routes):
        if route.methods and route.path_regex.match(request.url.path):
            methods |= route.methods
    return ", ".join(sorted(methods if "GET" in methods else methods - {"HEAD"}))


def _was_not_read(request: Request, errors: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a body came that FastAPI left alone, since nothing said that it is JSON."""
    body_errors = [error for error in errors if tuple(error["loc"]) == ("body",)]
    return any(isinstance(error["input"], bytes) for error in body_errors) and (
        "json" not in request.headers.get("content-type", "")
    )


def _invalid(scope: Scope, errors: Sequence[Mapping[str, Any]]) -> Response:
    """422 for what does not fit the schema, 400 for what is not even JSON."""
    malformed = any(error["type"] == "json_invalid" for error in errors)
    return _response(
        scope,
        400 if malformed else 422,
        "The body is not valid JSON." if malformed else "The request does not fit; see errors.",
        errors=[_field_error(error) for error in errors[:_SHOWN_ERRORS]],
    )


def _field_error(error: Mapping[str, Any]) -> FieldError:
    place, *path = error["loc"]
    if error["type"] == "json_invalid":
        # Some of Python's sentences end with the word that is to follow.
        said = error["ctx"]["error"].removesuffix(" at")
        return FieldError(pointer="#", detail=f"{said} at character {path[0]}")
    if place == "body":
        tokens = (quote(str(part).replace("~", "~0").replace("/", "~1")) for part in path)
        return FieldError(pointer="/".join(["#", *tokens]), detail=error["msg"])
    return FieldError(parameter=".".join(map(str, path)) or place, detail=error["msg"])


def _response(
    scope: Scope,
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[FieldError] | None = None,
) -> Response:
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        request_id=scope.get("state", {}).get("request_id"),
        errors=errors,
    )
    body = pydantic_core.to_json(problem, exclude_none=True)
    return Response(body, int(status), headers=headers, media_type=MEDIA_TYPE)
