"""RabbitMQ for the tests in this folder."""

from tests.unit.rabbitmq_support import rabbitmq, vhost

__all__ = ["rabbitmq", "vhost"]
