"""The session of each request, and its cookie."""

from collections.abc import Awaitable
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ServiceError
from app.infra.sessions.sessions import WELL_FORMED_ID, Session, Sessions


async def _session(request: Request) -> Session:
    session: Session = request.state.session
    return session


SessionDependency = Annotated[Session, Depends(_session)]
"""For handlers: the session of the request."""


class SessionMiddleware:
    """Puts a `Session` where HTTP handlers find it as `request.state.session`.

    The cookie is out of reach of scripts and of other sites' forms. On an encrypted connection, and
    always in production, it is `Secure`, and its name keeps subdomains from setting it (`__Host-`,
    RFC 6265bis, section 4.1.3.2).
    """

    def __init__(self, app: ASGIApp, *, production: bool) -> None:
        self._app = app
        self._production = production

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        sessions: Sessions | None = scope.get("state", {}).get("sessions")
        if scope["type"] != "http" or sessions is None:
            return self._app(scope, receive, send)
        secure = self._production or scope.get("scheme", "http") == "https"
        cookie = f"__Host-{sessions.settings.cookie}" if secure else sessions.settings.cookie
        session = scope["state"]["session"] = Session(sessions, _sent_id(scope, cookie))
        failed = False

        def send_with_session(message: Message) -> Awaitable[None]:
            begins = message["type"] == "http.response.start" and session.used
            return (send_saved if begins or failed else send)(message)

        async def send_saved(message: Message) -> None:
            nonlocal failed
            if failed:
                return
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            try:
                session_id = await session.save() if message["status"] < 500 else None
            except ServiceError as error:
                failed = True
                response = _plain(error)
                _mark(response.headers)
                await response(scope, receive, send)
                return
            if session_id is not None:
                headers.append("set-cookie", _set_cookie(cookie, session_id, secure=secure))
            _mark(headers)
            await send({**message, "headers": headers.raw})

        return self._app(scope, receive, send_with_session)


def _sent_id(scope: Scope, cookie: str) -> str | None:
    for name, value in scope["headers"]:
        if name == b"cookie":
            sent = cookie_parser(value.decode("latin-1")).get(cookie, "")
            if WELL_FORMED_ID.fullmatch(sent):
                return sent
    return None


def _set_cookie(name: str, session_id: str, *, secure: bool) -> str:
    expired = "" if session_id else "; Max-Age=0"
    return f"{name}={session_id}{expired}; Path=/; HttpOnly; SameSite=Lax" + "; Secure" * secure


def _mark(headers: MutableHeaders) -> None:
    """What depends on a session is nobody else's."""
    headers.setdefault("cache-control", "no-store")
    headers.add_vary_header("Cookie")


def _plain(error: ServiceError) -> PlainTextResponse:
    """The handlers of errors are past; `ProblemMiddleware` makes a problem document of it."""
    return PlainTextResponse(error.detail.removesuffix("."), int(error.status), error.headers)
