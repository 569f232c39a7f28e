"""I/O tasks: many at once in one process for each core. If the app's libraries block, choose the pool threads."""

web_worker = {
    "queues": ["default", "priority"],
    "workload": "io",
    # gevent has no soft limit.
    "time_limit": 300,
}
