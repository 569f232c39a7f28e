gpu_worker = {
    "queues": ["ml"],
    "pool": "solo",
    "concurrency": 1,
    "time_limit": 600,
    "memory_max": "500M",
}
