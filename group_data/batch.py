"""CPU tasks: one process for each task, one for each core. A process is replaced before its leaks add up."""

batch_worker = {
    "queues": ["batch"],
    "workload": "cpu",
    "soft_time_limit": 240,
    "time_limit": 300,
    # Memory that one running task needs, including the libraries of its process.
    "memory_per_slot": "100M",
}
