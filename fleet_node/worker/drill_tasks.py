"""A worker has the tasks of `fleet drill` and `fleet bench` only while one is announced: they take memory on demand, and nobody
else needs them.

The registry of an app's tasks asks (`fleet_node.broker.ledger`) only if a message names such a task: ordinary tasks cost no round
trip. In the main process `fleet_node.patches.parking` asks the registry, before it parks the message as unknown; in the processes
of the pool Celery does.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from celery.app.registry import TaskRegistry

from fleet_node.broker import ledger
from fleet_node.protocol import BENCH_TASK, DRILL_TASK

MODULES = {DRILL_TASK: "fleet_node.drill", BENCH_TASK: "fleet_node.bench"}
"""Task → the module that registers it."""


class DrillTasks(TaskRegistry):  # type: ignore[misc]  # celery has no types
    """A registry that registers such a task when it is asked for it, if a drill or a benchmark is announced."""

    fleet_app: Any
    fleet_main: int
    """The pid of the worker's main process; 0 if this process has never been it."""

    def __missing__(self, name: str) -> Any:
        if name not in MODULES or not self._is_announced():
            return super().__missing__(name)
        from celery.app import trace

        task = import_module(MODULES[name]).register(self.fleet_app)
        hostname = trace._localized[2] if trace._localized else None
        task.__trace__ = trace.build_tracer(name, task, self.fleet_app.loader, hostname, app=self.fleet_app)
        return task

    def _is_announced(self) -> bool:
        # The main process fails at once, and reconnects.
        tries = 0 if os.getpid() == self.fleet_main else ledger.OUTAGE
        return ledger.is_announced(self.fleet_app, tries)


def install(app: Any, main: int) -> None:
    """Have an app's registry do so, in this process and in those that it forks. main: see DrillTasks.

    The registry stays the same object, since Celery keeps references to it, and of the app's own class, if it has one.
    """
    tasks = app._tasks
    if isinstance(tasks, DrillTasks):
        tasks.fleet_main = main or tasks.fleet_main  # solo sets up its pool, in this process, before the worker
        return
    kind = type(tasks)
    tasks.__class__ = DrillTasks if kind is TaskRegistry else type("DrillTasks", (DrillTasks, kind), {})
    tasks.fleet_app, tasks.fleet_main = app, main
