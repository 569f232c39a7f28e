gpu_worker = {
    "queues": ["ml"],
    "workload": "gpu",
    "soft_time_limit": 540,
    "time_limit": 600,
    "memory_per_slot": "80M",
    "settle": 1,
    "canary_settle": 1,
}
nvidia = {"devices_by": "uuid", "compute_mode": "exclusive"}
