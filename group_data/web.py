"""I/O tasks: many at once in one process, which mostly waits. For libraries that block, use threads."""

web_worker = {
    "queues": ["default", "priority"],
    "pool": "gevent",
    "concurrency": 100,
    "prefetch_multiplier": 1,
    # gevent has no soft limit.
    "time_limit": 120,
    "memory_high": "450M",
    "memory_max": "500M",
}
