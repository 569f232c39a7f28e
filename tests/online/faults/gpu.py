gpu_worker = {"queues": ["ml"], "workload": "gpu", "time_limit": 60, "retry_delay": 5}
