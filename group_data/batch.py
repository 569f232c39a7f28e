batch_worker = {
    "queues": ["batch"],
    "pool": "prefork",
    "concurrency": 2,
    "max_tasks_per_child": 1000,
    "soft_time_limit": 240,
    "time_limit": 300,
    "memory_high": "450M",
    "memory_max": "500M",
}
