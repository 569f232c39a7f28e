web_worker = {
    "queues": ["default", "priority"],
    "pool": "gevent",
    "concurrency": 100,
    "prefetch_multiplier": 1,
    "time_limit": 120,
    "memory_high": "450M",
    "memory_max": "500M",
}
