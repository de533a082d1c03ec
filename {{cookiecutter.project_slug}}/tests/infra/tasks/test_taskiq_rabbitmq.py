"""What is RabbitMQ's own beneath Taskiq: connections that go on trying."""

import asyncio

from app.infra.lifecycle import ended
from app.infra.tasks.taskiq_rabbitmq import TaskiqRabbitmq, TaskiqRabbitmqSettings


async def test_given_up() -> None:
    """Nothing goes on trying when a server that is silent is given up."""
    writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, w: writers.put_nowait(w), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = TaskiqRabbitmqSettings(url=f"amqp://127.0.0.1:{port}/")
    before = asyncio.all_tasks()
    starting = asyncio.create_task(TaskiqRabbitmq(settings).make_broker().startup())
    writer = await writers.get()
    await ended(starting)
    assert asyncio.all_tasks() == before
    writer.close()
    server.close()
    await server.wait_closed()
