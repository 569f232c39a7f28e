gpu_worker = {
    "queues": ["ml"],
    "workload": "gpu",
    "time_limit": 60,
    "retry_delay": 5,
    "settle": 2,
    "canary_settle": 5,
}
