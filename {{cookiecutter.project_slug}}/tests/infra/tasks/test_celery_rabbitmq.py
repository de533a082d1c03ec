"""What is Celery's own over RabbitMQ."""

import ssl

import pytest

from app.infra.tasks.celery_rabbitmq import CeleryRabbitmq
from app.settings import Settings
from tests.task_rooms import of_tasks, open_tasks, with_tasks


async def test_quorum_queue(settings: Settings) -> None:
    """Ask RabbitMQ, which does not declare a queue again as one of another type."""
    async with open_tasks(with_tasks(settings)) as rooms:
        transport = rooms["tasks"].transport
        with transport._connect_lazily() as connection:
            arguments = {"x-queue-type": "classic"}
            with pytest.raises(connection.channel_errors, match="x-queue-type"):
                connection.default_channel.queue_declare(
                    transport.queue(), durable=True, auto_delete=False, arguments=arguments
                )
        with transport._connect_lazily() as connection:
            connection.default_channel.queue_delete(transport.queue())


async def test_deleted_queue(settings: Settings) -> None:
    """It is declared again for the next task."""
    async with open_tasks(with_tasks(settings)) as rooms:
        transport = rooms["tasks"].transport
        with transport._connect_lazily() as connection:
            connection.default_channel.queue_delete(transport.queue())
            await transport.check()
            await transport.send(["0" * 32])
            declared = connection.default_channel.queue_declare(transport.queue(), passive=True)
            assert declared.message_count == 1
            connection.default_channel.queue_delete(transport.queue())


def test_certificates_are_checked(settings: Settings) -> None:
    """By itself py-amqp would not compare the name in one."""
    chosen = with_tasks(settings, url="amqps://127.0.0.1:1/")
    transport = CeleryRabbitmq(of_tasks(chosen), [], "nothing")
    with transport._connect_lazily() as connection:
        assert connection.ssl == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
