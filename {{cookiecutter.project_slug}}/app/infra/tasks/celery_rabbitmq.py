"""Celery over a quorum queue of RabbitMQ."""

import ssl
from typing import Any, ClassVar

from kombu import Connection

from app.infra.tasks.celery import CelerySettings, CeleryTransport
from app.infra.tasks.rabbitmq_url import RabbitmqUrl


class CeleryRabbitmqSettings(CelerySettings):
    url: RabbitmqUrl
    """Where the queue is: amqp://, or amqps:// for TLS."""


class CeleryRabbitmq(CeleryTransport):
    broker: ClassVar[dict[str, Any]] = {
        "task_default_queue_type": "quorum",
        # RabbitMQ closes the channel of a worker that has not confirmed for half an hour.
        "broker_channel_error_retry": True,
    }

    def configuration(self, concurrency: int) -> dict[str, Any]:
        configuration = super().configuration(concurrency)
        if self._settings.url.startswith("amqps://"):
            # py-amqp would believe any host that has a certificate; None stands for the URL's.
            configuration["broker_use_ssl"] = {
                "cert_reqs": ssl.CERT_REQUIRED,
                "server_hostname": None,
            }
        return configuration

    def options(self) -> dict[str, Any]:
        timeout_seconds = self._settings.timeout_seconds
        return {
            # A task counts as sent once RabbitMQ has it.
            "confirm_publish": True,
            "read_timeout": timeout_seconds,
            "write_timeout": timeout_seconds,
        }

    def declare(self, connection: Connection) -> None:
        self._app.amqp.queues[self.queue()](connection.default_channel).declare()

    def ping(self, connection: Connection) -> None:
        connection.default_channel.queue_declare(self.queue(), passive=True)
