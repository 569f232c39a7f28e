"""GPU tasks: spawned children, since CUDA cannot be initialised again in a forked one."""

gpu_worker = {
    "queues": ["ml"],
    "pool": "prefork",
    "start_method": "spawn",
    "concurrency": 1,
    "prefetch_multiplier": 1,
    "max_tasks_per_child": 1000,
    "soft_time_limit": 540,
    "time_limit": 600,
    "memory_high": "450M",
    "memory_max": "500M",
}
