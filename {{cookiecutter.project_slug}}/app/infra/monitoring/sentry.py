"""Errors for Sentry: what nobody handled, with where it came up and without whom it met.

The client is the service's own, and not the one that the SDK keeps for a whole process: it patches
nothing, listens to no log, and sends what it is told and nothing else.
"""

import asyncio
import re
from typing import Annotated, Any

import sentry_sdk
from pydantic import AfterValidator, BaseModel, Field, SecretStr
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.utils import BadDsn, Dsn, event_from_exception

from app.infra.monitoring.recorder import Recorder

_MASKED = "***"
# What errors quote: passwords in URLs, secrets by their name, the values that a row or a model was
# to have, and addresses of people.
_SECRETS = [
    (re.compile(r"(://[^\s/:@]*:)\S*(?=@)"), rf"\1{_MASKED}"),
    (re.compile(r"(?i)\b(authorization|(?:set-)?cookie)(['\"]?\s*[:=]).*"), rf"\1\2 {_MASKED}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s,;'\"]+"), rf"\1 {_MASKED}"),
    (
        re.compile(
            r"(?i)([\w-]*(?:passw|pwd|secret|token|api[_-]?key|credential|session)[\w-]*"
            r"['\"]?\s*[:=]\s*)('[^']*'|\"[^\"]*\"|[^\s,;&)}\]]+)"
        ),
        rf"\1{_MASKED}",
    ),
    (re.compile(r"(?m)((?:DETAIL:|\[parameters:|'input':|Duplicate entry) ).*"), rf"\1{_MASKED}"),
    (re.compile(r"(input_value=).*(?=, input_type=)"), rf"\1{_MASKED}"),
    (re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+"), _MASKED),
]


def _parsed(dsn: SecretStr) -> SecretStr:
    try:
        Dsn(dsn.get_secret_value())
    except BadDsn:
        raise ValueError("is no DSN; write it as Sentry shows it under Client Keys.") from None
    return dsn


class SentrySettings(BaseModel):
    dsn: Annotated[SecretStr, AfterValidator(_parsed)] | None = None
    """Where errors are sent, as Sentry shows it under Client Keys; unset, they are only logged."""

    sample_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the errors that is sent: a number from 0, none, to 1, all of them."""

    messages: bool = True
    """Send what errors say, secrets masked; `false` sends their types and where they came up."""

    variables: bool = False
    """Send the local variables of each frame, secrets masked; they may be about people."""

    close_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Seconds that what was not sent yet may hold up the end of a process."""


class Sentry(Recorder):
    """Sends errors from a thread of its own, and drops those that it cannot get rid of."""

    def __init__(self, settings: SentrySettings, *, release: str, environment: str) -> None:
        self._settings = settings
        self._client = sentry_sdk.Client(
            # Not None, which would be looked up in the SDK's own variables.
            settings.dsn.get_secret_value() if settings.dsn else "",
            release=release,
            environment=environment,
            sample_rate=settings.sample_rate,
            max_request_body_size="never",
            include_local_variables=settings.variables,
            event_scrubber=EventScrubber(recursive=True),
            before_send=self._scrubbed,
            in_app_include=["app"],
            max_breadcrumbs=0,
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            enable_backpressure_handling=False,
            send_client_reports=False,
            spotlight=False,
            debug=False,
        )

    def failed(self, error: BaseException, **tags: str) -> None:
        if self._settings.dsn is None:
            return
        mechanism = {"type": "service", "handled": False}
        event, hint = event_from_exception(error, self._client.options, mechanism)
        event["tags"] = {**tags}
        if place := tags.get("route") or tags.get("task"):
            event["transaction"] = place
        self._client.capture_event(event, hint)

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close, self._settings.close_timeout_seconds)

    def _scrubbed(self, event: Any, _hint: dict[str, Any]) -> Any:
        for value in event["exception"]["values"]:
            value["value"] = _masked(value["value"]) if self._settings.messages else None
            for frame in value.get("stacktrace", {}).get("frames", ()):
                if "vars" in frame:
                    frame["vars"] = _masked(frame["vars"])
        return event


def _masked(value: Any) -> Any:
    """`value`, without the secrets in its texts."""
    if isinstance(value, dict):
        return {key: _masked(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each) for each in value]
    if isinstance(value, str):
        for secret, masked in _SECRETS:
            value = secret.sub(masked, value)
    return value
