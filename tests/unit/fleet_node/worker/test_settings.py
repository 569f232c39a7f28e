"""The fleet's settings override an app's own, task by task."""

from celery import Celery, Task

from fleet.spec.reliability import RELIABILITY
from fleet_node.worker import settings


class Generic(Task):  # type: ignore[misc]  # celery has no types
    """A class that several tasks are made of."""

    def __init__(self, name: str, **own: bool) -> None:
        self.name = name
        for attribute, value in own.items():
            setattr(self, attribute, value)

    def run(self) -> None:
        pass


def test_each_task_for_itself_though_they_share_a_class() -> None:
    with Celery("shop", set_as_current=False) as app:
        for task in (Generic("pay.card"), Generic("mail.send"), Generic("mail.late", acks_late=False)):
            app.register_task(task)
        app.finalize()
        settings.apply(app, {"settings": dict(RELIABILITY), "at_most_once": ["pay.*"]})
        acks_late = {name: bool(task.acks_late) for name, task in app.tasks.items() if not name.startswith(("celery.", "fleet."))}
    assert acks_late == {"pay.card": False, "mail.send": True, "mail.late": True}
