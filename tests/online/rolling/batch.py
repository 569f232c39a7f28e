batch_worker = {
    "queues": ["batch"],
    "instances": 2,
    "memory_per_slot": "100M",
    "time_limit": 300,
    "settle": 2,
    "canary_settle": 5,
}
