"""The NVIDIA driver, at the edge: installed before anything else is touched, loaded, and the machine restarted where need be."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from gevent.pool import Pool
from pyinfra import logger
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase, get_fact
from pyinfra.context import ctx_host, host, inventory, state
from pyinfra.operations import python, server

from fleet.engine import apply
from fleet.engine.run import FleetError, one_at_a_time, seen_by_host
from fleet.plan.plan import Plan
from fleet.rollout.steps import min_consumers_of
from fleet.spec.fleet import Host
from fleet.spec.nvidia import Nvidia
from roles import driver

REBOOT_PATIENCE = 600
"""Seconds for a machine to be back. One with eight devices takes minutes to count its memory."""
BOOTED = f"timeout {REBOOT_PATIENCE} systemctl is-system-running --wait >/dev/null || true"


class DriverProbe(FactBase[driver.Seen]):
    """All we need to know of a machine's driver, by one command."""

    def command(self, nvidia: Nvidia) -> str:
        return "sh -c " + shlex.quote(driver.command(nvidia))

    def process(self, output: Sequence[str]) -> driver.Seen:
        try:
            return driver.parse(list(output))
        except ValueError as error:
            raise FactProcessError(str(error)) from error


def install(nvidia: Nvidia, seen: driver.Seen) -> None:
    """Declare that this host gets the driver's packages. Raises FleetError where they cannot be had."""
    try:
        sources, packages = driver.sources(nvidia, seen), driver.packages(nvidia, seen)
    except driver.DriverError as error:
        raise FleetError(f"{host.name}: {error}; nothing was changed") from None
    written = {entry.path for entry in apply.bring(sources, seen.machine).write}
    if driver.SOURCES in written:
        server.shell(name="Read the new package lists", commands=["apt-get -q -o DPkg::Lock::Timeout=300 update"])
    apply.bring(packages, seen.machine)
    if driver.BLACKLIST in written:
        server.shell(name="Keep nouveau out of what boots", commands=[driver.UPDATE_INITRAMFS])


_seen: list[dict[str, driver.Seen]] = []


def bring(plan: Plan, me: Host) -> None:
    """Declare that every host whose settings ask for it has the driver, and that it works: one host after the other, since one
    that has to be restarted for it is drained first. Nothing on a host that has none to get."""
    with one_at_a_time:
        if not _seen:
            hosts = [one for one in inventory.get_active_hosts() if _settings(plan, one.name).driver == "debian"]
            _seen.append(dict(Pool(max(1, len(hosts))).imap_unordered(lambda one: _ask(plan, one), hosts)))
    if me.name in _seen[0]:
        install(me.settings.nvidia, _seen[0][me.name])
    turns = [name for name in plan.fleet.hosts if name in _seen[0] and _seen[0][name].booted and not _seen[0][name].works]
    for name in host.loop(turns):  # type: ignore[no-untyped-call]
        apply.phase(name=f"Load the NVIDIA driver on {name}")
        if name == me.name:
            apply.changing.append(me.name)
            python.call(name="Load it, or restart the machine for it", function=_load, plan=plan, me=me)


def _settings(plan: Plan, name: str) -> Nvidia:
    return plan.fleet.hosts[name].settings.nvidia


def _ask(plan: Plan, one: Any) -> tuple[str, driver.Seen]:
    with ctx_host.use(one):
        return one.name, get_fact(state, one, DriverProbe, args=(_settings(plan, one.name),))


def _load(state: Any, host: Any, plan: Plan, me: Host) -> bool:
    first = server.shell(name="Load the driver", commands=[driver.LOAD], _ignore_errors=True)
    if first.did_succeed():
        return True
    said = "; ".join(first.stderr.splitlines()[-2:])
    needs = f"{host.print_prefix}the driver is installed, and does not work before a restart ({said})"
    if me.settings.nvidia.reboot == "never":
        logger.error(f'{needs}: restart the machine, or allow it: nvidia = {{"reboot": "auto"}}')
        return False
    if bare := _left_bare(plan, me):
        logger.error(f"{needs}, which would leave {', '.join(bare)} with too few consumers: restart it by hand when that may be")
        return False
    logger.info(f"{needs}: restarting the machine")
    server.shell(name="Drain the machine's workers", commands=["systemctl stop 'celery-*.service'"])
    server.reboot(name="Restart the machine", reboot_timeout=REBOOT_PATIENCE)
    # Its workers start with it; one that is judged among eight that start at once is found wanting.
    server.shell(name="Wait until it has started all that it starts", commands=[BOOTED])
    again = server.shell(name="Load the driver again", commands=[driver.LOAD], _ignore_errors=True)
    if not again.did_succeed():
        said = "; ".join(again.stderr.splitlines()[-2:])
        logger.error(f"{host.print_prefix}the driver does not work after a restart either: {said}")
    return bool(again.did_succeed())


def _left_bare(plan: Plan, me: Host) -> list[str]:
    """Queues that would have fewer consumers than they keep without this machine, of those that it serves now."""
    serving = [
        (role, number)
        for role, sized in plan.workers[me.name].items()
        for number in range(1, sized.instances + 1)
        if (unit := seen_by_host[me.name].units.get(f"celery-{role}@{number}.service")) and unit.active
    ]
    here: dict[str, int] = {}
    for role, _ in serving:
        for queue in dict.fromkeys(me.workers[role].queues):
            here[queue] = here.get(queue, 0) + 1
    return sorted(queue for queue, number in here.items() if plan.consumers[queue] - number < min_consumers_of(plan, queue))
