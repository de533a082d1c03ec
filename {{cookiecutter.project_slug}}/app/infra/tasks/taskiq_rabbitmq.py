"""Taskiq over a quorum queue of RabbitMQ."""

import asyncio

from aio_pika import ExchangeType, connect
from aio_pika.abc import TimeoutType
from aio_pika.exceptions import AMQPError
from aio_pika.robust_connection import RobustConnection
from taskiq import AsyncBroker, TaskiqError
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue

from app.infra.tasks.broker import BrokerSettings
from app.infra.tasks.rabbitmq_url import RabbitmqUrl
from app.infra.tasks.taskiq import Taskiq

_HEARTBEAT_SECONDS = 10


class TaskiqRabbitmqSettings(BrokerSettings):
    url: RabbitmqUrl
    """Where the queue is: amqp://, or amqps:// for TLS."""


class TaskiqRabbitmq(Taskiq):
    errors = (AMQPError, TaskiqError, TimeoutError, OSError, RuntimeError)

    def make_broker(self) -> AsyncBroker:
        settings = self._settings
        name = f"{settings.prefix}.tasks"
        return _Broker(
            settings.url,
            # As many as can be performed at once: none waits here while another worker is free.
            qos=settings.concurrency,
            exchange=Exchange(name=name, type=ExchangeType.DIRECT),
            task_queues=[Queue(name=name)],
            dead_letter_queue=Queue(name=f"{name}.dead"),
            timeout=settings.timeout_seconds,
            heartbeat=_HEARTBEAT_SECONDS,
            connection_class=_Connection,
        )

    async def probe(self) -> None:
        # The broker's own connection would go on trying when nobody waits for it any more.
        await (await connect(self._settings.url)).close()

    async def ping(self, broker: AsyncBroker) -> None:
        assert isinstance(broker, AioPikaBroker)  # noqa: S101  # see make_broker
        connection = broker.write_conn
        if connection is None or not connection.connected.is_set():
            raise ConnectionError("RabbitMQ is not connected")


class _Broker(AioPikaBroker):
    """Leaves with the connections: a channel that was restored waits for ever for its own end."""

    async def shutdown(self) -> None:
        await AsyncBroker.shutdown(self)
        connections = filter(None, (self.write_conn, self.read_conn))
        # At once, since one that is not closed would go on trying to reach the server.
        await asyncio.gather(*(connection.close() for connection in connections))


class _Connection(RobustConnection):
    """Does not go on trying when who made it has given up."""

    async def connect(self, timeout: TimeoutType = None) -> None:  # noqa: ASYNC109  # as it is called
        try:
            await super().connect(timeout)
        except BaseException:
            await self.close()
            raise
