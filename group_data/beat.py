"""Celery's beat, on the hosts in the group beat. Commented lines show the defaults."""

beat = {
    # "django_celery_beat.schedulers:DatabaseScheduler", "redbeat.RedBeatScheduler", … None: the app's own beat_scheduler.
    # "scheduler": None,
    # Seconds after which another host leads if the leader gives no sign of life.
    # "takeover": 15,
    # Seconds between two looks at the schedule, at most. None: the scheduler's own.
    # "max_interval": None,
    # "memory_max": "512M",
    # "log_level": "INFO",
    # "log_format": "text",
    # "environment": {},
    # Names in the secrets file, e.g. of the database that holds the schedule.
    # "secrets": [],
}
