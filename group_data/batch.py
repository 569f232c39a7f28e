"""CPU tasks: one process a task, as many as there are cores, recycled before what it leaks adds up."""

batch_worker = {
    "queues": ["batch"],
    "workload": "cpu",
    "soft_time_limit": 240,
    "time_limit": 300,
    # What one task at once takes, the libraries of its process included.
    "memory_per_slot": "100M",
}
