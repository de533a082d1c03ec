"""Sessions over a store.

A session is a record of JSON under the digest of its id: who reads the store learns no id. Its user
has an epoch there, a random name that the record repeats; without it, all the user's sessions are
over. What is missing is never valid, so that a store may lose anything at any time.
"""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus
from typing import Any, Protocol

from pydantic import TypeAdapter

from app.errors import Conflict, ServiceError, TryAgain
from app.infra.sessions.settings import SessionSettings

_ID_BYTES = 32
WELL_FORMED_ID = re.compile(r"[A-Za-z0-9_-]{43}")
"""256 random bits, as `secrets.token_urlsafe` writes them."""

# Of those that save a session at the same time one succeeds each time, and the others repeat.
_MOST_ATTEMPTS = 50


class SessionTooLarge(ServiceError, ValueError):
    """A session would hold more than it may."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class SessionStore(Protocol):
    """Values under keys, each for a time.

    Any method but `open` and `close` may raise `Unavailable`.
    """

    async def open(self) -> None:
        """Begin; a store that does not answer is no reason not to start."""

    async def close(self) -> None:
        """Let go of every connection."""

    async def read(self, key: str, ttl_seconds: float) -> bytes | None:
        """What is kept under `key`, from now on for another `ttl_seconds`."""

    async def add(self, key: str, value: bytes, ttl_seconds: float) -> bytes:
        """Keep `value`, unless there is one, and return what is there, kept for `ttl_seconds`."""

    async def replace(self, key: str, old: bytes, new: bytes, ttl_seconds: float) -> bool:
        """Keep `new` in place of `old`; False, and nothing changed, when that is not there."""

    async def take(self, key: str, old: bytes) -> bool:
        """Remove `key`; False, and nothing changed, when `old` is not there."""

    async def remove(self, key: str) -> None:
        """Remove `key`, if it is there."""


@dataclass(frozen=True)
class Record:
    """What is kept of a session."""

    created: float
    """Unix time in seconds, of the last sign-in if there was one."""
    user: str | None = None
    epoch: str | None = None
    """The one that the user had at the sign-in."""
    data: Mapping[str, Any] = field(default_factory=dict)


_record = TypeAdapter(Record)


class Sessions:
    """Every session of the service."""

    name = "sessions"

    def __init__(
        self,
        store: SessionStore,
        settings: SessionSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is Unix time in seconds, since all processes have to agree on it."""
        self.settings = settings
        self._store = store
        self._clock = clock

    async def open(self) -> None:
        """Raises nothing: a store that does not answer is no reason not to start."""
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def revoke(self, user: str) -> None:
        """End every session of `user` at once, in O(1); raises `Unavailable`.

        One that begins later, be it in the same request, is not concerned.
        """
        await self._store.remove(_user_key(user))

    def fresh(self) -> Record:
        """The record of a session that begins now."""
        return Record(self._clock())

    async def read(self, session_id: str) -> bytes | None:
        """The record of a session, idle no longer; None when it is over or never was.

        One round trip, and another one when somebody is signed in.
        """
        settings = self.settings
        raw = await self._store.read(_key(session_id), settings.idle_timeout_seconds)
        record = None if raw is None else decoded(raw)
        if record is None or self._remaining_seconds(record) <= 0:
            return None
        if record.user is not None:
            epoch = await self._store.read(
                _user_key(record.user), settings.absolute_timeout_seconds
            )
            if epoch is None or epoch.decode() != record.epoch:
                return None
        return raw

    async def signed_in(self, record: Record, user: str) -> Record:
        """`record` as one of the sessions of `user`."""
        epoch = await self._store.add(
            _user_key(user), secrets.token_hex(16).encode(), self.settings.absolute_timeout_seconds
        )
        return replace(record, epoch=epoch.decode())

    async def add(self, record: Record) -> str:
        """Keep a record under a new id, which is returned."""
        session_id = secrets.token_urlsafe(_ID_BYTES)
        await self._store.add(_key(session_id), self.encoded(record), self._ttl_seconds(record))
        return session_id

    async def replace(self, session_id: str, old: bytes, record: Record) -> bool:
        """Keep `record` in place of `old`; False when that is not there."""
        new = self.encoded(record)
        return new == old or await self._store.replace(
            _key(session_id), old, new, self._ttl_seconds(record)
        )

    async def move(self, session_id: str, old: bytes, record: Record) -> str | None:
        """Keep `record` under a new id in place of `old`; None when that is not there."""
        # In this order, since nobody has the new id yet: a failure between leaves the old one.
        moved_id = await self.add(record)
        if await self._store.take(_key(session_id), old):
            return moved_id
        await self.remove(moved_id)
        return None

    async def remove(self, session_id: str) -> None:
        """End the session."""
        await self._store.remove(_key(session_id))

    def encoded(self, record: Record) -> bytes:
        """A record as it is kept.

        Raises:
            SessionTooLarge: its data are more than `max_bytes` of JSON.
        """
        if len(_json(record.data)) > self.settings.max_bytes:
            raise SessionTooLarge("The session would hold too much; keep less in it.")
        return _json(asdict(record)).encode()

    def _remaining_seconds(self, record: Record) -> float:
        return record.created + self.settings.absolute_timeout_seconds - self._clock()

    def _ttl_seconds(self, record: Record) -> float:
        return min(self.settings.idle_timeout_seconds, self._remaining_seconds(record))


class Session:
    """The session of one request, loaded when something is asked of it for the first time.

    What changes it is saved together, just before the response begins, unless that is a 5xx. When
    another request has saved the same session meanwhile, the changes are made again to what that
    one left: `set` is last-write-wins for each name, `update` is atomic.
    """

    def __init__(self, sessions: Sessions, session_id: str | None) -> None:
        """`session_id` is what the client sent, if it is well-formed."""
        self._sessions = sessions
        self._id = session_id
        self._raw: bytes | None = None
        self._record: Record | None = None
        self._changes: list[Callable[[Record], Record]] = []
        self._user_began: str | None = None
        self._rotates = False
        self._ends = False
        self._saved = False
        self.used = False
        """Whether the response depends on it."""

    async def user(self) -> str | None:
        """Whose it is; raises `Unavailable`."""
        return (await self._current()).user

    async def get(self, name: str, default: Any = None) -> Any:
        """The value of `name`; raises `Unavailable`. What is changed in it in place is not kept."""
        return (await self._current()).data.get(name, default)

    async def set(self, name: str, value: Any) -> None:
        """Give `name` a value of JSON; None removes it. Raises as `update` does."""
        kept = json.loads(_json(value))
        await self.update(name, lambda _: kept)

    async def update(self, name: str, change: Callable[[Any], Any]) -> None:
        """Give `name` what `change` makes of its value; None is the absence of one.

        `change` is called again when another request was faster, and when a connection died before
        it was known whether it was saved.

        Raises:
            SessionTooLarge: the session would hold more than `max_bytes`.
            Unavailable: the store does not answer.
            TypeError, ValueError: the value is not JSON.
        """

        def changed(record: Record) -> Record:
            data = dict(record.data)
            data[name] = json.loads(_json(change(data.get(name))))
            if data[name] is None:
                del data[name]
            return replace(record, data=data)

        await self._change(changed)

    async def rotate(self) -> None:
        """Go on under a new id; the old one is invalid at once. For changes of what one may do."""
        self._touch()
        await self._current()
        self._rotates = True

    async def begin(self, user: str) -> None:
        """Make it the session of `user`, who has just signed in, under a new id.

        What was kept before the sign-in stays, unless it was another user's.
        """

        def begun(record: Record) -> Record:
            data = record.data if record.user in (None, user) else {}
            return replace(self._sessions.fresh(), user=user, data=data)

        await self._change(begun)
        self._rotates = True
        self._user_began = user

    async def end(self) -> None:
        """End it, as on signing out. What is written afterwards begins another."""
        self._touch()
        self._ends = True
        self._rotates = False
        self._user_began = None
        self._changes.clear()
        self._raw, self._record = None, self._sessions.fresh()

    async def save(self) -> str | None:
        """Keep what was changed: the id that the client needs from now on, "" for none at all.

        None when that is the one it has.

        Raises:
            Conflict: the session ended meanwhile.
            TryAgain: too many requests change it at the same time.
            SessionTooLarge: with what others wrote meanwhile it holds too much.
            Unavailable: the store does not answer.
        """
        self._saved = True
        if self._ends and self._id is not None:
            await self._sessions.remove(self._id)
        if self._id is None or self._raw is None:
            return await self._save_new() or ("" if self._ends and self._id else None)
        if not self._changes and not self._rotates:
            return None
        for _ in range(_MOST_ATTEMPTS):
            record = await self._final(self._raw)
            if self._rotates:
                if rotated_id := await self._sessions.move(self._id, self._raw, record):
                    return rotated_id
            elif await self._sessions.replace(self._id, self._raw, record):
                return None
            self._raw = await self._sessions.read(self._id)
            if self._raw is None:
                break
        else:
            raise TryAgain("Too many requests use the session at the same time; try again.")
        if self._user_began is None:
            raise Conflict("The session ended while the request was served; begin another.")
        return await self._save_new()

    async def _save_new(self) -> str | None:
        record = await self._final(None)
        # Nothing written, nothing kept: who only looks gets no cookie.
        if not record.data and record.user is None:
            return None
        return await self._sessions.add(record)

    def _touch(self) -> None:
        if self._saved:
            raise RuntimeError("The response has begun; change the session before it does.")
        self.used = True

    async def _change(self, change: Callable[[Record], Record]) -> None:
        self._touch()
        record = change(await self._current())
        self._sessions.encoded(record)
        self._record = record
        self._changes.append(change)

    async def _current(self) -> Record:
        self.used = True
        if self._record is None:
            raw = None if self._id is None else await self._sessions.read(self._id)
            if self._record is None:  # or another task of the request was faster
                self._raw, self._record = raw, self._base(raw)
        return self._record

    def _base(self, raw: bytes | None) -> Record:
        return (None if raw is None else decoded(raw)) or self._sessions.fresh()

    async def _final(self, raw: bytes | None) -> Record:
        record = self._base(raw)
        for change in self._changes:
            record = change(record)
        if self._user_began is not None:
            record = await self._sessions.signed_in(record, self._user_began)
        return record


def decoded(raw: bytes) -> Record | None:
    """A record as it was kept; None for what another release has left."""
    try:
        return _record.validate_json(raw)
    except ValueError:
        return None


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _key(session_id: str) -> str:
    return f"session:{_digest(session_id)}"


def _user_key(user: str) -> str:
    return f"user:{_digest(user)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
