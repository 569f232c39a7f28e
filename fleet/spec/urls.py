"""Where Celery finds the broker and its results: the variables that it reads by itself."""

from __future__ import annotations

from urllib.parse import quote

BROKER_DB, RESULT_DB = 0, 1


def celery_variables(password: str, netloc: str) -> dict[str, str]:
    """CELERY_BROKER_URL and CELERY_RESULT_BACKEND of the user `worker`. netloc: `address:port`, as it stands in a URL."""
    return {
        "CELERY_BROKER_URL": redis_url("worker", password, netloc, BROKER_DB),
        "CELERY_RESULT_BACKEND": redis_url("worker", password, netloc, RESULT_DB),
    }


def redis_url(user: str, password: str, netloc: str, database: int = BROKER_DB) -> str:
    """The URL of the broker for one of its users. netloc: `address:port`, as it stands in a URL."""
    return f"redis://{user}:{quote(password, safe='')}@{netloc}/{database}"
