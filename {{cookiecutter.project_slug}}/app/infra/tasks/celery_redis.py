"""Celery over a list of Redis."""

import base64
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

from kombu import Connection
from kombu.asynchronous import get_event_loop
from kombu.transport import redis

from app.infra.redis_url import RedisUrl
from app.infra.tasks.celery import CelerySettings, CeleryTransport

_VISIBILITY_MARGIN_SECONDS = 60.0
_HEALTH_CHECK_SECONDS = 10


class CeleryRedisSettings(CelerySettings):
    url: RedisUrl
    """Where the queue is: redis://, or rediss:// for TLS; a Redis that evicts nothing."""


class CeleryRedis(CeleryTransport):
    broker: ClassVar[dict[str, Any]] = {"broker_transport": f"{__name__}:Transport"}

    def configuration(self, concurrency: int) -> dict[str, Any]:
        configuration = super().configuration(concurrency)
        if self._settings.url.startswith("rediss://"):
            # kombu would believe any certificate.
            configuration["broker_use_ssl"] = {"ssl_cert_reqs": "required"}
        return configuration

    def queue(self) -> str:
        return "celery"

    def options(self) -> dict[str, Any]:
        timeout_seconds = self._settings.timeout_seconds
        return {
            "global_keyprefix": f"{self._settings.prefix}:",
            # A message that nobody has confirmed is brought again, and its task not begun twice.
            "visibility_timeout": self.time_limit_seconds + _VISIBILITY_MARGIN_SECONDS,
            "socket_timeout": timeout_seconds,
            "socket_connect_timeout": timeout_seconds,
            "health_check_interval": _HEALTH_CHECK_SECONDS,
            # One list, for there are no priorities.
            "priority_steps": [0],
        }

    def ping(self, connection: Connection) -> None:
        connection.default_channel.client.ping()


class _Client(redis.PrefixedStrictRedis):  # type: ignore[misc]
    """Brings what kombu could not read as a message that nobody accepts, for kombu would stop."""

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        response = super().parse_response(connection, command_name, **options)
        if command_name != "BRPOP" or not response:
            return response
        queue, item = response
        return queue, item if _is_readable(item) else _wrapped(item)


class _Channel(redis.Channel):  # type: ignore[misc]
    """Has the worker connect again when it cannot say that a message was performed.

    Celery writes that to the log and goes on. With a prefetch of one it would take the message for
    one that is still performed, and wait for ever to have room for the next.
    """

    def _get_client(self) -> Any:
        return partial(_Client, global_keyprefix=self.global_keyprefix)

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        with self._noticed():
            super().basic_ack(delivery_tag, multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        with self._noticed():
            super().basic_reject(delivery_tag, requeue)

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        try:
            yield
        except self.connection_errors as error:
            if (loop := get_event_loop()) is not None:
                loop.call_soon(_fail, error)
            raise


class Transport(redis.Transport):  # type: ignore[misc]
    """kombu's own, which strangers cannot stop."""

    Channel = _Channel


def _fail(error: Exception) -> None:
    raise error


def _is_readable(item: bytes) -> bool:
    try:
        message = json.loads(item)
        properties = message["properties"]
        delivery = properties["delivery_info"]
        base64.b64decode(message["body"], validate=True)
        return (
            isinstance(properties["delivery_tag"], str)
            and isinstance(delivery["exchange"], str)
            and isinstance(delivery["routing_key"], str)
            and isinstance(message["headers"], dict)
            and properties["body_encoding"] == "base64"
        )
    except (ValueError, TypeError, LookupError):
        return False


def _wrapped(item: bytes) -> bytes:
    message = {
        "body": base64.b64encode(item).decode(),
        "content-type": "application/octet-stream",
        "content-encoding": "binary",
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": secrets.token_hex(16),
            "delivery_info": {"exchange": "", "routing_key": ""},
        },
    }
    return json.dumps(message).encode()
