"""Celery settings that every worker gets, whatever its app says, unless `left_to_app` names them."""

from __future__ import annotations

from typing import Any, Literal

Reliability = Literal[
    "task_acks_late",
    "task_reject_on_worker_lost",
    "broker_connection_retry_on_startup",
    "broker_connection_max_retries",
    "result_backend_always_retry",
    "result_backend_max_retries",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "health_check_interval",
    "unacked_restore_interval",
    "unacked_restore_throttle",
    "task_default_queue_type",
    "broker_heartbeat",
    "confirm_publish",
]
"""What `left_to_app` may name: the keys of RELIABILITY and TRANSPORT, and of both for RabbitMQ."""

RELIABILITY: dict[str, Any] = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "result_backend_always_retry": True,
    "result_backend_max_retries": 10,
}
"""Settings of the worker's Celery. With early acknowledgement, a killed worker lost 4 tasks of 60; a killed prefork child lost
1. Without retries, the first task of a process after a cut network is a failure, although it succeeded.
Ten retries take up to 20 s: the main process stores results too, and enforces no time limit meanwhile."""

TRANSPORT: dict[str, Any] = {
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
}
"""Options of the worker's connection to Redis, in seconds. A worker notices a dead connection, and looks for the messages of dead
workers every 10 s instead of every 100 s."""

RABBITMQ_RELIABILITY: dict[str, Any] = {"task_default_queue_type": "quorum", "broker_heartbeat": 15}
"""Settings of a worker's Celery that a RabbitMQ needs besides RELIABILITY. Only quorum queues survive the loss of a node and
count how often a message came back. With a heartbeat every 15 s, RabbitMQ gives the tasks of a machine that is gone to others
after 45 s; without one, when TCP gives up."""

RABBITMQ_TRANSPORT: dict[str, Any] = {"confirm_publish": True}
"""Options of the worker's connection to RabbitMQ. What is sent without a confirm is lost with the connection."""
