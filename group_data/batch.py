"""CPU tasks: one process a task, recycled before what it leaks adds up."""

batch_worker = {
    "queues": ["batch"],
    "pool": "prefork",
    "concurrency": 4,
    "prefetch_multiplier": 1,
    "max_tasks_per_child": 1000,
    "soft_time_limit": 240,
    "time_limit": 300,
    "memory_high": "450M",
    "memory_max": "500M",
}
