"""I/O tasks: many at once in one process, which mostly waits, and a process a core. For libraries that block, choose threads."""

web_worker = {
    "queues": ["default", "priority"],
    "workload": "io",
    # gevent has no soft limit.
    "time_limit": 300,
}
