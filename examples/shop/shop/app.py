"""The Celery app: `celery -A shop.app worker`."""

from time import perf_counter
from typing import Any

from celery import Celery, Task


class TimedTask(Task):  # type: ignore[misc]  # celery ships no types
    """A task that answers with a dict, and adds how long it ran: `seconds`."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        started = perf_counter()
        result: dict[str, Any] = super().__call__(*args, **kwargs)
        return {**result, "seconds": round(perf_counter() - started, 4)}


app = Celery(
    "shop",
    include=["shop.tasks.ml", "shop.tasks.orders", "shop.tasks.prices", "shop.tasks.reports"],
)
app.config_from_object("shop.settings")
