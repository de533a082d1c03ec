"""Taskiq as the transport: ids go through its brokers, and its receiver hands them out."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import structlog
from taskiq import AckableMessage, AsyncBroker
from taskiq.acks import AckController, AcknowledgeType
from taskiq.receiver import Receiver

from app.infra.lifecycle import ended
from app.infra.tasks.broker import BrokerSettings, described, out_of_reach, patiently
from app.infra.tasks.ledger import ID
from app.infra.tasks.transport import Worker

logger = structlog.get_logger()

# Of each message, which the performer tells better.
logging.getLogger("taskiq").setLevel(logging.WARNING)

_TASK = "perform"
_ROOM = 1_000
_PAUSE_SECONDS = 1.0


class Taskiq:
    """A `Transport` over one of Taskiq's brokers; what differs between them is in subclasses."""

    errors: ClassVar[tuple[type[Exception], ...]]
    """What is raised when the server of the broker does not answer."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._broker: AsyncBroker | None = None

    def make_broker(self) -> AsyncBroker:
        """A broker, not yet started."""
        raise NotImplementedError

    async def probe(self) -> None:
        """Raise unless the server can be reached; called before a broker is started."""

    async def ping(self, broker: AsyncBroker) -> None:
        """Raise unless the server answers."""
        raise NotImplementedError

    async def open(self) -> None:
        async def connect() -> None:
            broker = self.make_broker()
            try:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    await self.probe()
                    await broker.startup()
                    await self.ping(broker)
            except BaseException:
                await self._shut_down(broker)
                raise
            self._broker = broker

        await patiently(connect, self._settings, self.errors)

    async def close(self) -> None:
        if self._broker is not None:
            await self._shut_down(self._broker)

    async def check(self) -> None:
        assert self._broker is not None  # noqa: S101  # rooms are open
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await self.ping(self._broker)
        except self.errors as error:
            raise out_of_reach(error) from error

    def room(self) -> int:
        return _ROOM

    def waiting(self) -> Sequence[str]:
        return ()

    async def send(self, task_ids: Sequence[str]) -> None:
        assert self._broker is not None  # noqa: S101  # rooms are open
        task = self._broker.find_task(_TASK) or self._broker.register_task(_nobody, _TASK)
        try:
            for task_id in task_ids:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    await task.kiq(task_id)
        except self.errors as error:
            raise out_of_reach(error) from error

    async def consume(self, worker: Worker, concurrency: int, stopping: asyncio.Event) -> None:
        # One that was cut off goes on with its jobs while the next connects.
        free = asyncio.Semaphore(concurrency)

        async def perform(task_id: str) -> None:
            async with free:
                await worker.perform(task_id)

        while not stopping.is_set():
            try:
                await self._receive(worker, perform, concurrency, stopping)
            except Exception as error:  # noqa: BLE001  # whatever it was, the next try may go well
                logger.warning("the queue does not answer", cause=described(error))
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _receive(
        self, worker: Worker, perform: Any, concurrency: int, stopping: asyncio.Event
    ) -> None:
        broker = self.make_broker()
        broker.is_worker_process = True
        broker.register_task(perform, _TASK)
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await self.probe()
                await broker.startup()
            receiver = _Receiver(worker, broker, concurrency)
            await receiver.listen(stopping)
        finally:
            await self._shut_down(broker)

    async def _shut_down(self, broker: AsyncBroker) -> None:
        closing = asyncio.ensure_future(broker.shutdown())
        try:
            await asyncio.wait({closing}, timeout=self._settings.timeout_seconds)
        finally:
            # A time-out would cancel once, which a connection that is lost meanwhile may not hear.
            await ended(closing)
        error = TimeoutError("it took too long") if closing.cancelled() else closing.exception()
        if error is not None:
            # A server that is gone cannot be told.
            logger.info("the queue was left without a word", cause=described(error))


class _Receiver(Receiver):
    """Keeps what cannot be read, instead of throwing it away."""

    def __init__(self, worker: Worker, broker: AsyncBroker, concurrency: int) -> None:
        super().__init__(
            broker,
            max_async_tasks=concurrency,
            max_prefetch=0,
            run_startup=False,
            ack_type=AcknowledgeType.WHEN_EXECUTED,
        )
        self._worker = worker

    async def callback(self, message: bytes | AckableMessage, raise_err: bool = False) -> None:
        data = message.data if isinstance(message, AckableMessage) else message
        try:
            clean = self._clean(data)
        except ValueError as fault:
            await self._worker.reject(data, str(fault))
            if isinstance(message, AckableMessage):
                await AckController(message.ack).ack()
            return
        ours = isinstance(message, AckableMessage) and AckableMessage(data=clean, ack=message.ack)
        await super().callback(ours or clean, raise_err)

    def _clean(self, data: bytes) -> bytes:
        """The message, without the labels that Taskiq would act upon, and we never send.

        Raises:
            ValueError: it is none of ours.
        """
        try:
            message = self.broker.formatter.loads(data)
        except Exception as error:  # anything may be in a message
            raise ValueError(f"This message cannot be read: {described(error)}") from error
        if self.broker.find_task(message.task_name) is None:
            raise ValueError(f"This message is for {message.task_name!r}, which is unknown.")
        match message.args:
            case [str(task_id)] if ID.fullmatch(task_id) and not message.kwargs:
                ours = message.model_copy(update={"labels": {}, "labels_types": None})
                return self.broker.formatter.dumps(ours).message
        raise ValueError("This message names no task.")


async def _nobody(task_id: str) -> None:
    """Stands for what a worker does, where tasks are only sent."""
    raise NotImplementedError(task_id)
