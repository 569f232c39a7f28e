web_worker = {
    "queues": ["default", "priority"],
    "workload": "io",
    "instances": 2,
    "time_limit": 60,
    "retry_delay": 5,
    "longest_eta": 25,
    "settle": 2,
    "canary_settle": 5,
}
