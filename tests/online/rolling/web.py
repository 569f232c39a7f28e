web_worker = {
    "queues": ["default", "priority"],
    "workload": "io",
    "instances": 2,
    "time_limit": 60,
    "settle": 2,
    "canary_settle": 5,
}
