batch_worker = {
    "queues": ["batch"],
    "instances": 2,
    "concurrency": 2,
    "memory_per_slot": "100M",
    "stall_timeout": 40,
    "time_limit": 60,
    "settle": 2,
    "canary_settle": 5,
}
