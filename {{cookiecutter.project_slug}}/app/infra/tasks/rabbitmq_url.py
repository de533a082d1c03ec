"""Where a RabbitMQ is."""

from typing import Annotated

from pydantic import AfterValidator


def _of_rabbitmq(url: str) -> str:
    if not url.startswith(("amqp://", "amqps://")):
        raise ValueError(
            "it is no URL of RabbitMQ; write it like amqp://guest:guest@127.0.0.1:5672/"
        )
    return url


RabbitmqUrl = Annotated[str, AfterValidator(_of_rabbitmq)]
