"""`python -m shop.exercise`: send tasks of every kind and check every answer. It needs only Celery."""
