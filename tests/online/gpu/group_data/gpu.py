gpu_worker = {"queues": ["ml"], "workload": "gpu", "time_limit": 60, "memory_per_slot": "80M", "settle": 1, "canary_settle": 1}
nvidia = {"devices_by": "uuid", "compute_mode": "exclusive"}
lint_ignore = {"task-time-limit": "the shop's tasks take seconds"}
