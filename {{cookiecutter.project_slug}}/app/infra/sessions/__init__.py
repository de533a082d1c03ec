"""Sessions: what is remembered of a client, on the server, under an id that the client keeps."""

from app.infra.sessions.middleware import SessionDependency, SessionMiddleware
from app.infra.sessions.sessions import Session, Sessions, SessionStore, SessionTooLarge

__all__ = [
    "Session",
    "SessionDependency",
    "SessionMiddleware",
    "SessionStore",
    "SessionTooLarge",
    "Sessions",
]
