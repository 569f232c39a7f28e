"""Where Celery finds the broker and its results: the variables that it reads by itself."""

from __future__ import annotations

from urllib.parse import quote

BROKER_DB, RESULT_DB = 0, 1


def celery_variables(password: str, netloc: str) -> dict[str, str]:
    """CELERY_BROKER_URL and CELERY_RESULT_BACKEND of the user `worker`. netloc: `address:port`, as it stands in a URL."""
    base = f"redis://worker:{quote(password, safe='')}@{netloc}"
    return {"CELERY_BROKER_URL": f"{base}/{BROKER_DB}", "CELERY_RESULT_BACKEND": f"{base}/{RESULT_DB}"}
