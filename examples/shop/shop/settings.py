"""Celery settings. Times are in seconds.

The two addresses are for development: Celery itself reads CELERY_BROKER_URL and CELERY_RESULT_BACKEND, and they win.
"""

from kombu import Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

broker_url = "redis://127.0.0.1:6379/0"
result_backend = "redis://127.0.0.1:6379/1"
broker_connection_retry_on_startup = True

# Declared, so that a worker started without -Q serves all of them. Of the type RabbitMQ reads; Redis does not.
task_default_queue = "default"
task_queues = [
    Queue(name, queue_arguments={"x-queue-type": "quorum"})  # type: ignore[no-untyped-call]
    for name in ("default", "priority", "batch", "ml")
]
task_routes = {
    "shop.tasks.orders.*": {"queue": "priority"},  # a customer waits for these
    "shop.tasks.prices.*": {"queue": "default"},
    "shop.tasks.reports.*": {"queue": "batch"},
    "shop.tasks.ml.*": {"queue": "ml"},
}

# Every task here may run twice without harm, so a message is dropped only when its work is done.
task_acks_late = True
task_reject_on_worker_lost = True
task_soft_time_limit = 240
task_time_limit = 300
broker_transport_options = {
    # Above the hard limit plus the longest wait behind other prefetched tasks: after this Redis hands the task out again.
    "visibility_timeout": 3600,
    # Above the tasks at once of any one worker; opened on demand. With kombu's 10, a gevent worker that ends 11 tasks in
    # the same moment fails to acknowledge one ("Couldn't ack … MaxConnectionsError"), and that one runs again.
    "max_connections": 200,
    # Of RabbitMQ: who sends waits until it has the task.
    "confirm_publish": True,
}

result_expires = 3600
result_extended = True  # keeps which worker ran it
