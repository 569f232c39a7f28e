"""Another app, as small as they come: a module with an app of another name, and nothing of ours."""

from celery import Celery

celery = Celery("jobs")
celery.conf.task_default_queue = "default"


@celery.task
def double(number):
    return number * 2
