"""What a run refuses before it changes anything. Pure: each raises FleetError with the text that the user reads."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from fleet.errors import FleetError
from fleet.lint import Finding
from fleet.spec.fleet import Fleet
from fleet.state.diff import Changes
from fleet.state.observed import NO_HISTORY, ObservedMachine
from fleet.state.paths import BEAT_UNIT
from fleet_node.protocol import STATE_FOLDER


def refuse_data(given: Mapping[str, object], takes: Sequence[str]) -> None:
    """Raises for `--data` that this script does not read. given: name → value of all that some script reads."""
    for name, value in given.items():
        if name not in takes and value is not None:
            known = f"it takes {' and '.join(takes)}" if takes else "--limit names hosts"
            raise FleetError(f"{name}: this script takes none by --data; {known}; nothing was changed")


def explain_down(down: Sequence[str], asked: Sequence[str], groups: Mapping[str, Sequence[str]], records: str = "") -> str:
    """What a run says of machines that could not be connected to. asked: all that --limit leaves, those that are down included.
    groups: of the inventory. records: the host of the lock and the history; empty if it is not known."""
    names = ", ".join(down)
    if len(down) == len(asked):
        return f"{names}: no connection, and nothing was changed; is the network up, and ssh_user, ssh_key right?"
    if records in down:
        return f"{names}: no connection, and nothing was changed; no run is without {records}, which has the lock and the history"
    if broker := [host for host in down if [*groups.get("broker", ())] == [host]]:
        return f"{names}: no connection, and nothing was changed; no run is without {broker[0]}, which is the broker"
    words = [f"--limit {shlex.quote(name)}" for name in _limit([host for host in asked if host not in down], groups)]
    without = "it" if len(down) == 1 else "them"
    return f"{names}: no connection, and nothing was changed; to go on without {without}: {' '.join(words)}"


def _limit(hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Names for --limit that stand for these hosts and no other: groups where they are shorter."""
    missing = dict.fromkeys(hosts)
    names = []
    for group, members in groups.items():
        if set(members) <= set(hosts) and len(missing.keys() & set(members)) > 1:
            names.append(group)
            missing = {host: None for host in missing if host not in members}
    return [*names, *missing]


def refuse_silence(answers: Mapping[str, ObservedMachine | None]) -> None:
    """Raises for machines whose probe does not report cores and memory."""
    silent = [name for name, machine in answers.items() if machine is None or not (machine.cores and machine.memory)]
    if silent:
        raise FleetError(
            f"{', '.join(silent)}: does not say what it has (cores by nproc, memory by /proc/meminfo); why is above, after its "
            "name; nothing was changed"
        )


def moved_records(fleet: Fleet, answers: Mapping[str, ObservedMachine]) -> str:
    """What to know if the history is on another machine than the one that keeps it from this run on; empty if it is not. That
    happens when the first host of an inventory changes."""
    has = [name for name, machine in answers.items() if machine.history not in (None, NO_HISTORY)]
    if not has or fleet.records_host not in answers or fleet.records_host in has:
        return ""
    return (
        f"the lock and the history are on {fleet.records_host} from now on, and were on {has[0]}: a rollback knows no release of "
        f"before, and whoever has that inventory does not see the lock. Copy {STATE_FOLDER}/history.jsonl from {has[0]}, "
        f'or write records_host = "{has[0]}" in group_data/all.py'
    )


def refuse_namesakes(fleet: Fleet, answers: Mapping[str, ObservedMachine]) -> None:
    """Raises for two machines of one host name that have workers of one role: Celery could not tell these apart."""
    hosts: dict[tuple[str, str], str] = {}
    for name, host in fleet.hosts.items():
        hostname = answers[name].hostname if name in answers else ""
        for role in host.workers if hostname else ():
            if (namesake := hosts.setdefault((hostname, role), name)) != name:
                raise FleetError(
                    f"{namesake}, {name}: both call themselves {hostname}, and their {role} workers would have one name: "
                    "give them host names of their own (hostnamectl hostname NAME); nothing was changed"
                )


def refuse_second_beat(fleet: Fleet, answers: Mapping[str, ObservedMachine]) -> None:
    """Raises if beat would begin on a machine while another that --limit leaves out may go on: RabbitMQ has no lock for it."""
    if fleet.transport == "redis" or fleet.hosts.keys() <= answers.keys():
        return
    if new := [name for name in fleet.beat_hosts if name in answers and BEAT_UNIT not in answers[name].units]:
        raise FleetError(
            f"{new[0]}: has no beat yet, and a machine that --limit leaves out may have one: with RabbitMQ both would send the "
            "whole schedule. Deploy without --limit; nothing was changed"
        )


def refuse_new_authority(host: str, changes: Changes, authorities: str, is_whole: bool) -> None:
    """Raises if the broker is to show a certificate, or none, that machines which the run leaves out do not expect. changes: of
    the broker's machine, which runs it. authorities: the file there of those who may sign. is_whole: whether none is left out."""
    if not is_whole and authorities in (*changes.remove, *(entry.path for entry in changes.write)):
        raise FleetError(
            f"{host}: workers on machines that --limit leaves out would not trust the broker's new certificate, or would miss "
            "it: deploy without --limit; nothing was changed"
        )


def refuse_closed_port(host: str, observed: ObservedMachine, tls: bool | str, authorities: str, workers: bool) -> None:
    """Raises if the broker is to close the port that running workers use: a step that is not well could not be put back, and the
    others would consume nothing meanwhile. observed: the broker's machine. authorities: the file there of a broker that has TLS.
    workers: whether any run."""
    if not tls and authorities in observed.paths and workers:
        raise FleetError(
            f"{host}: the workers that run use TLS, which the broker would have no more: stop them first (systemctl stop "
            "'celery-*' on their machines) and deploy, which starts them again; tasks wait meanwhile. Nothing was changed"
        )
    if tls is True and authorities not in observed.paths and workers:
        raise FleetError(
            f'{host}: the workers that run use the plain port, and no step could be put back without it: write "tls": "both" in '
            "broker, deploy, and then True; nothing was changed"
        )


def refuse_findings(findings: Sequence[Finding]) -> None:
    """Raises if a rule across settings is broken."""
    errors = [finding for finding in findings if finding.is_error]
    if errors:
        raise FleetError(
            "\n    ".join([f"{len(errors)} mistake(s) across the settings, nothing was changed:", *map(str, errors)])
        )


def refuse_foreign_address(fleet: Fleet, host: str, observed: ObservedMachine) -> None:
    """Raises if a machine of the broker's does not have the address that workers connect to."""
    address = fleet.address_of(host)
    if observed.addresses and address not in observed.addresses:
        raise FleetError(
            f"{host}.lan_address: {address} is no address of this machine ({' '.join(observed.addresses)}); nothing was changed"
        )
