gpu_worker = {
    "queues": ["ml"],
    "workload": "gpu",
    "time_limit": 60,
    "settle": 2,
    "canary_settle": 5,
}
