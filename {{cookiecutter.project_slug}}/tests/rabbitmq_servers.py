"""RabbitMQ for the tests: names of their own in a server that is there."""

import os

TEST_RABBITMQ_URL = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
