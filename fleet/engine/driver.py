"""The NVIDIA driver, at the edge: installed before anything else is touched, loaded, and the machine restarted if need be."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from gevent.pool import Pool
from pyinfra import logger
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase, get_fact
from pyinfra.context import ctx_host, host, inventory, state
from pyinfra.operations import python, server

from fleet.engine import apply
from fleet.engine.refusal import refusing
from fleet.engine.run import Run
from fleet.plan.plan import Plan
from fleet.rollout.request import is_up
from fleet.spec.fleet import Host
from fleet.spec.nvidia import Nvidia
from fleet.state import driver
from fleet.state.desired import State
from fleet.state.driver import ObservedDriver
from fleet.state.observed import ObservedMachine, Watched
from fleet.state.role import Role, watched

REBOOT_PATIENCE = 600
"""Seconds for a machine to be back. One with eight devices takes minutes to count its memory."""
BOOTED = f"timeout {REBOOT_PATIENCE} systemctl is-system-running --wait >/dev/null || true"


class DriverRole(Role, Protocol):
    """The face of the driver's role: package sources come before packages."""

    @property
    def SOURCES(self) -> str: ...  # noqa: N802 - a constant of a module

    @property
    def BLACKLIST(self) -> str: ...  # noqa: N802

    def packages_of(self, nvidia: Nvidia) -> tuple[str, ...]: ...

    def sources(self, nvidia: Nvidia, observed: ObservedDriver) -> State: ...

    def packages(self, nvidia: Nvidia, observed: ObservedDriver) -> State: ...


class DriverProbe(FactBase[ObservedDriver]):
    """All that a run has to know of a machine's driver, by one command."""

    def command(self, watched: Watched) -> str:
        return "sh -c " + shlex.quote(driver.command(watched))

    def process(self, output: Sequence[str]) -> ObservedDriver:
        try:
            return driver.parse(list(output))
        except ValueError as error:
            raise FactProcessError(str(error)) from error


def watched_by(role: DriverRole, nvidia: Nvidia) -> Watched:
    """What the driver's probe looks at."""
    return replace(watched([role]), packages=role.packages_of(nvidia))


def install(role: DriverRole, nvidia: Nvidia, observed: ObservedDriver) -> bool:
    """Declare that this host gets the driver's packages; whether something changes. Raises RefusedError if there are none."""
    with refusing():
        try:
            sources, packages = role.sources(nvidia, observed), role.packages(nvidia, observed)
        except driver.DriverError as error:
            raise driver.DriverError(f"{host.name}: {error}; nothing was changed") from None
    brought = apply.bring(sources, observed.machine)
    written = {entry.path for entry in brought.write}
    if role.SOURCES in written:
        server.shell(name="Update the package lists", commands=["apt-get -q -o DPkg::Lock::Timeout=300 update"])
    installed = apply.bring(packages, observed.machine)
    if role.BLACKLIST in written:
        server.shell(name="Rebuild the initramfs without nouveau", commands=[driver.UPDATE_INITRAMFS])
    return bool(brought) or bool(installed)


def bring(run: Run, role: DriverRole) -> None:
    """Declare that every host whose settings ask for it has the driver, and that it works: one host after the other, since a host
    that has to be restarted for it is drained first. Nothing on a host that is to have none."""
    with run.preparing:
        if run.drivers is None:
            hosts = [asked for asked in inventory.get_active_hosts() if _settings(run.plan, asked.name).driver == "debian"]
            run.drivers = dict(Pool(max(1, len(hosts))).imap_unordered(lambda asked: _ask(run.plan, role, asked), hosts))
    drivers = run.drivers
    local = run.fleet.hosts[host.name]
    if local.name in drivers and install(role, local.settings.nvidia, drivers[local.name]):
        run.changed.add(local.name)
    turns = [name for name in run.fleet.hosts if name in drivers and drivers[name].booted and not drivers[name].works]
    for name in host.loop(turns):  # type: ignore[no-untyped-call]
        apply.phase(name=f"Load the NVIDIA driver on {name}")
        if name == local.name:
            run.changed.add(local.name)
            python.call(name="Load the driver, or restart the machine", function=_load, run=run, local=local)


def _settings(plan: Plan, name: str) -> Nvidia:
    return plan.fleet.hosts[name].settings.nvidia


def _ask(plan: Plan, role: DriverRole, asked: Any) -> tuple[str, ObservedDriver]:
    with ctx_host.use(asked):
        return asked.name, get_fact(state, asked, DriverProbe, args=(watched_by(role, _settings(plan, asked.name)),))


def _load(state: Any, host: Any, run: Run, local: Host) -> bool:
    first = server.shell(name="Load the driver", commands=[driver.LOAD], _ignore_errors=True)
    if first.did_succeed():
        return True
    output = "; ".join(first.stderr.splitlines()[-2:])
    needs = f"the driver is installed, and does not work before a restart ({output})"
    if local.settings.nvidia.reboot == "never":
        apply.report_error(run, host, f'{needs}: restart the machine, or allow it: nvidia = {{"reboot": "auto"}}')
        return False
    if queues := underserved_without(local.name, run.plan, run.observed):
        apply.report_error(
            run,
            host,
            f"{needs}, which would leave {', '.join(queues)} with too few consumers: restart it by hand when that may be",
        )
        return False
    logger.info(f"{host.print_prefix}{needs}: restarting the machine")
    server.shell(name="Drain the machine's workers", commands=["systemctl stop 'celery-*.service'"])
    server.reboot(name="Restart the machine", reboot_timeout=REBOOT_PATIENCE)
    # The machine's workers start with it. A worker that is judged while eight start at once fails its gate.
    server.shell(name="Wait for the machine to boot", commands=[BOOTED])
    again = server.shell(name="Load the driver again", commands=[driver.LOAD], _ignore_errors=True)
    if not again.did_succeed():
        output = "; ".join(again.stderr.splitlines()[-2:])
        apply.report_error(run, host, f"the driver does not work after a restart either: {output}")
    return bool(again.did_succeed())


def underserved_without(name: str, plan: Plan, observed: Mapping[str, ObservedMachine]) -> list[str]:
    """Queues that a host serves now and that would have fewer consumers than they keep without it."""
    serving: dict[str, int] = {}
    for instance in plan.instances_on((name,)):
        if is_up(observed, instance):
            for queue in instance.queues:
                serving[queue] = serving.get(queue, 0) + 1
    return sorted(queue for queue, number in serving.items() if plan.consumers[queue] - number < plan.min_consumers(queue))
