"""GPU tasks: a worker a device, with spawned children, since CUDA cannot be initialised again in a forked one."""

gpu_worker = {
    "queues": ["ml"],
    "workload": "gpu",
    "soft_time_limit": 540,
    "time_limit": 600,
    "memory_per_slot": "200M",
}
