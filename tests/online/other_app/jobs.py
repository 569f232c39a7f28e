"""A minimal app: one module, with an app object of another name, and nothing of this project."""

from celery import Celery

celery = Celery("jobs")
celery.conf.task_default_queue = "default"


@celery.task
def double(number):
    return number * 2
