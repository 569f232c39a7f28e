batch_worker = {
    "queues": ["batch"],
    "pool": "threads",
    "concurrency": 4,
    "time_limit": 300,
    "memory_max": "500M",
}
