"""`python -m shop.exercise`: send tasks of every kind and check every answer. Needs Celery only, not what the tasks need."""
