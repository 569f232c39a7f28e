"""What a run knows before it does anything: the fleet's settings, what every machine has, and whether it all fits together."""

from __future__ import annotations

import atexit
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gevent.lock import Semaphore
from gevent.pool import Pool
from pyinfra import logger
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.api.facts import FactBase, get_fact
from pyinfra.context import ctx_host, host, inventory, state

from fleet.engine import connection
from fleet.engine.inventory import gather
from fleet.engine.progress import Progress
from fleet.lint import Finding, lint
from fleet.plan.plan import Plan, resolved
from fleet.spec import secrets
from fleet.spec.fleet import Fleet
from fleet.spec.groups import RUN_ARGUMENTS
from fleet.spec.load import load_fleet
from fleet.spec.mistakes import SpecError
from fleet.state import observed
from fleet.state.observed import ObservedMachine
from roles import broker, machine


class FleetError(PyinfraError):
    """A mistake of the user's, found before anything changed. pyinfra prints it without a traceback and exits 1."""


class Probe(FactBase[ObservedMachine]):
    """All we need to know of a machine, by one command."""

    def command(self) -> str:
        return "sh -c " + shlex.quote(observed.command((*machine.PACKAGES, *broker.PACKAGES), (machine.USER,)))

    def process(self, output: Iterable[str]) -> ObservedMachine:
        try:
            return observed.parse(output)
        except ValueError as error:
            raise FactProcessError(str(error)) from error


@cache
def load(*takes: str) -> tuple[Fleet, Mapping[str, str]]:
    """The whole fleet, validated, and its secrets: once a run, before any machine is asked. Raises FleetError.

    takes: names of what this script, and not every one, is told by --data.
    """
    for name in RUN_ARGUMENTS:
        if name not in takes and host.data.get(name) is not None:
            known = f"it takes {' and '.join(takes)}" if takes else "--limit names hosts"
            raise FleetError(f"{name}: this script takes none by --data; {known}; nothing was changed")
    try:
        fleet = load_fleet(gather(inventory))
        path = Path(fleet.settings.secrets_file)
        found = secrets.read(path)
        secrets.require(path, found, [*secrets.BROKER_NAMES, *fleet.secrets])
    except (SpecError, secrets.SecretsError) as error:
        mistakes = str(error).splitlines()
        raise FleetError("\n    ".join([f"{len(mistakes)} mistake(s), nothing was changed:", *mistakes])) from None
    state.add_callback_handler(Progress())  # type: ignore[no-untyped-call]
    return fleet, found


one_at_a_time = Semaphore()
seen_by_host: dict[str, ObservedMachine] = {}
_plan: list[Plan] = []


def look(fleet: Fleet) -> tuple[ObservedMachine, Plan]:
    """What this host's probe saw, and the plan of the whole fleet. Raises FleetError where a rule across settings is broken.

    Whoever comes first probes every host, at once: a rule needs them all. (To wait for each host's own turn would lock up where
    there are more hosts than pyinfra works on at a time.)
    """
    with one_at_a_time:
        if not _plan:
            hosts = inventory.get_active_hosts()
            for name, machine_seen in Pool(max(1, len(hosts))).imap_unordered(_ask, hosts):
                seen_by_host[name] = machine_seen
            _plan.append(_resolve(fleet))
    return seen_by_host[host.name], _plan[0]


def _ask(one: Any) -> tuple[str, ObservedMachine]:
    connection.notice_when_gone(one)
    with ctx_host.use(one):
        return one.name, get_fact(state, one, Probe)


def _resolve(fleet: Fleet) -> Plan:
    silent = [name for name, seen in seen_by_host.items() if seen is None or not (seen.cores and seen.memory)]
    if silent:
        raise FleetError(
            f"{', '.join(silent)}: does not say what it has (cores by nproc, memory by /proc/meminfo); nothing was changed"
        )
    _refuse_namesakes(fleet)
    # In the inventory's order, whoever answered first: what is sized must be the same in every run.
    plan = resolved(fleet, {name: seen_by_host[name].facts for name in fleet.hosts if name in seen_by_host})
    findings = lint(plan)
    errors = [finding for finding in findings if finding.level == "error" and finding.counts]
    if errors:
        raise FleetError(
            "\n    ".join([f"{len(errors)} mistake(s) across the settings, nothing was changed:", *map(str, errors)])
        )
    tell(findings)
    return plan


def _refuse_namesakes(fleet: Fleet) -> None:
    """Celery tells workers apart by role and host name: two of one name would be taken for one."""
    named: dict[tuple[str, str], str] = {}
    for host_name, one in fleet.hosts.items():
        called = seen_by_host[host_name].hostname if host_name in seen_by_host else ""
        for role in one.workers if called else ():
            if (other := named.setdefault((called, role), host_name)) != host_name:
                raise FleetError(
                    f"{other}, {host_name}: both call themselves {called}, and their {role} workers would have one name: "
                    "give them host names of their own (hostnamectl hostname NAME); nothing was changed"
                )


_told: dict[str, None] = {}


def tell(findings: Iterable[Finding]) -> None:
    """Keep what is no error for the end of the run, where it is read; said once, whatever number of hosts finds it."""
    for finding in findings:
        said = f"silenced, since {finding.silenced}" if finding.silenced else finding.level
        tell_line(f"{said}: {finding}")


def tell_line(line: str) -> None:
    """Keep a line for the end of the run."""
    if not _told:
        atexit.register(_list)
    _told[line] = None


def _list() -> None:
    for line in _told:
        logger.info(f"--> {line}")
