"""Celery's beat, which waits for the lock before it begins."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import platforms
from celery.apps.beat import Beat
from celery.beat import Service
from celery.utils.imports import load_extension_class_names, symbol_by_name
from redis.exceptions import RedisError

from fleet_node.beat import fence, scheduler
from fleet_node.beat.lock import Lock
from fleet_node.beat.pulse import Pulse, lost
from fleet_node.broker import kind_of
from fleet_node.worker.sd_notify import notify

logger = logging.getLogger("celery.beat")

EVERY = 1.0
"""Seconds between two looks of a standby."""


class FleetService(Service):  # type: ignore[misc]  # celery has no types
    """Of one process. lock, pulse: set by `beat`."""

    lock: Lock | None
    pulse: Pulse

    def start(self, embedded_process: bool = False) -> None:
        """Wait until this process leads, and do what Celery's beat does."""
        chosen = self._chosen()  # a scheduler that is not there is no reason to be a standby
        try:
            if self.lock:
                self._wait_for_lock(self.lock)
                guard = fence.Fence(self.lock, lost)
                fence.install(guard)
                self.scheduler_cls = scheduler.of_leader(chosen, guard, self.pulse)
            else:
                self.scheduler_cls = scheduler.of_single(chosen, self.pulse)
                # Celery writes its file every three minutes: a crash would send their runs again.
                self.app.conf.beat_sync_every = self.app.conf.beat_sync_every or 1
            self.pulse.leads()
            # Nobody reads the results of what beat sends: Celery would subscribe to each, for ever.
            self.app.backend.on_task_call = lambda *_, **__: None
            logger.info("beat: leads with %d entries", len(self.scheduler.schedule))
            self.pulse.ready()
            super().start(embedded_process)
        finally:
            notify("STOPPING=1")
            self.pulse.stop()

    def sync(self) -> None:
        """As the process ends: a standby has nothing to keep."""
        if "scheduler" in self.__dict__:
            super().sync()

    def get_scheduler(self, lazy: bool = False, extension_namespace: str = "celery.beat_schedulers") -> Any:
        """The scheduler."""
        return self.scheduler_cls(
            app=self.app, schedule_filename=self.schedule_filename, max_interval=self.max_interval, lazy=lazy
        )

    def _chosen(self) -> type:
        aliases = dict(load_extension_class_names("celery.beat_schedulers"))
        chosen: type = symbol_by_name(self.scheduler_cls, aliases=aliases)
        return chosen

    def _wait_for_lock(self, lock: Lock) -> None:
        """Ask for the lock until this process has it."""
        ready, failing, leader = False, False, ""
        while True:
            try:
                with self.pulse.at_work():
                    if lock.ask(self.pulse.sign):
                        return
                failing = False
                if not ready:
                    self.pulse.ready()
                    ready = True
                if lock.leader != leader:
                    leader = lock.leader
                    logger.info("beat: standby, %s leads", lock.leading_node)
                notify("WATCHDOG=1", f"STATUS={self.pulse.status}")
            except RedisError as error:
                if not failing:
                    logger.warning("beat: the broker does not answer: %r", error)
                failing = True
                if ready:  # that the broker is away is no reason to be started again
                    notify("WATCHDOG=1", "STATUS=standby, and the broker does not answer")
            time.sleep(EVERY)


class FleetBeat(Beat):  # type: ignore[misc]  # celery has no types
    """Celery's program, which ends between two looks at the schedule."""

    def install_sync_handler(self, service: FleetService) -> None:
        """Have the service end by SIGTERM and SIGINT."""
        platforms.signals.update(SIGTERM=service.pulse.end, SIGINT=service.pulse.end)


def beat(app: Any, node: str, takeover: float, lock: bool, **options: Any) -> Beat:
    """Celery's beat for an app. lock: whether its broker is a Redis. options: of celery.apps.beat.Beat."""
    held = Lock(app, node, takeover) if lock else None
    pulse = Pulse(node, held)
    if kind_of(app.connection_for_write()) == "amqp":
        app.conf.broker_transport_options = {**(app.conf.broker_transport_options or {}), "on_blocked": pulse.blocked}
    service = type("FleetService", (FleetService,), {"lock": held, "pulse": pulse})
    program = FleetBeat(app=app, quiet=True, **options)
    program.Service = service
    return program
