"""The releases of a drill: copies of the app's source, good ones and ones that are broken on purpose."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from fleet.drill.errors import DrillError

BROKEN: dict[str, str] = {
    "crash at import": "raise RuntimeError('fleet drill: a release that does not import')\n",
    "never ready": (
        "import os as _os\nfrom celery.signals import worker_init as _init\n\n\n"
        "@_init.connect\ndef _fall(**_):\n    _os._exit(3)\n"
    ),
    "consumes nothing": (
        "from celery.signals import worker_ready as _ready\n\n\n@_ready.connect\ndef _idle(sender, **_):\n"
        "    for queue in list(sender.task_consumer.queues):\n"
        "        sender.call_soon(sender.cancel_task_queue, queue.name)\n"
    ),
    "fails every task": (
        "from celery.app.registry import TaskRegistry as _Registry\n"
        "from celery.signals import celeryd_after_setup as _setup\n\n\n@_setup.connect\ndef _spoil_all(instance, **_):\n"
        "    def fail(*_, **__):\n        raise RuntimeError('fleet drill: a release that fails every task')\n\n"
        "    def spoil(name, task):\n"
        "        if name != 'fleet.probe' and not name.startswith('celery.'):\n"
        "            # of a task that is tried again, run is a wrapper\n"
        "            setattr(task, '_orig_run' if hasattr(task, '_orig_run') else 'run', fail)\n\n"
        "    def register(registry, name, task):\n"
        "        dict.__setitem__(registry, name, task)\n        spoil(name, task)\n\n"
        "    for name, task in instance.app.tasks.items():\n        spoil(name, task)\n"
        "    _Registry.__setitem__ = register  # the drill's own task comes later\n"
    ),
}
"""Defect → the code that is added to the app's module to make a release with that defect."""


def copy_release(source: Path, target: Path, app: str, defect: str = "") -> Path:
    """Copy the app's source as another release. defect: a name in BROKEN; its code is added to the app's module.

    Raises DrillError if a defect is asked for and `source` has no module for `app`.
    """
    shutil.copytree(source, target, symlinks=True)
    (target / "fleet_drill.txt").write_text(f"{uuid.uuid4().hex}\n")  # makes it another release
    if defect:
        with module_of(target, app).open("a") as file:
            file.write(f"\n{BROKEN[defect]}")
    return target


def module_of(source: Path, app: str) -> Path:
    """The file that `celery -A` names: a module, or an attribute of one. Raises DrillError if there is no such file."""
    dotted = app.partition(":")[0].split(".")
    for parts in (dotted, dotted[:-1]):
        module = source.joinpath(*parts)
        for path in (module.with_suffix(".py"), module / "__init__.py"):
            if parts and path.is_file():
                return path
    raise DrillError(f"celery_app {app}: no such module in {source}, so no broken releases can be made of it")
