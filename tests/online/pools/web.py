web_worker = {
    "queues": ["default", "priority"],
    "pool": "eventlet",
    "concurrency": 50,
    "instances": 2,
    "time_limit": 300,
    "memory_high": "350M",
    "memory_max": "400M",
    "environment": {"MOTTO": 'a "quoted" $word, 100% \\ of it'},
}
