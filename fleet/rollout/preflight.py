"""What a run would leave behind: tasks that its release does not have, queues without consumers, workers of other hosts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fleet.broker import connect, probe, probe_rabbitmq, probe_results
from fleet.broker.forwards import Hosts
from fleet.broker.probe import Server
from fleet.broker.probe_rabbitmq import RabbitServer
from fleet.broker.verdict import Verdict
from fleet.broker.view import BrokerView
from fleet.errors import FleetError
from fleet.lint import Finding
from fleet.lint.connections import connections_by_role
from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.plan.process import parse_node
from fleet.spec.fleet import Fleet
from fleet.spec.urls import REFERENCE
from fleet_node.protocol import TASKS_MARK, UnregisteredTasks

_WORKER_UNIT = re.compile(r"celery-.+@\d+\.service")


@dataclass(frozen=True)
class Preflight:
    """What the look into the queues came to. error: why the rollout must not begin, or None. notes: for the end of the run."""

    error: str | None
    notes: tuple[str, ...] = ()

    def __add__(self, other: Preflight) -> Preflight:
        errors = [look.error for look in (self, other) if look.error]
        return Preflight("\n".join(errors) or None, (*self.notes, *other.notes))


def queues_of(instances: Iterable[Instance]) -> list[str]:
    """The queues that these instances consume, each as it holds on its own host, sorted."""
    return sorted({queue for instance in instances for queue in instance.queues})


def names_in(given: object) -> frozenset[str]:
    """The names in `--data discard_tasks=NAME,NAME` and the like; none if it is not given."""
    return frozenset(name.strip() for name in str(given or "").split(",") if name.strip())


def names_of(hosts: Iterable[str]) -> frozenset[str]:
    """What machines may call themselves, by their names in the inventory."""
    return frozenset(name for host in hosts for name in (host, host.partition(".")[0]))


def parse(output: Sequence[str]) -> UnregisteredTasks:
    """The report in the output of `fleet_node.app.unregistered`. Raises ValueError if there is none."""
    marked = [line.removeprefix(TASKS_MARK) for line in output if line.startswith(TASKS_MARK)]
    if not marked:
        raise ValueError("no report of unregistered tasks")
    report: UnregisteredTasks = json.loads(marked[-1])
    return report


def judge(report: UnregisteredTasks, discarded: frozenset[str]) -> Preflight:
    """Whether the rollout may begin. discarded: tasks that may be parked."""
    refused: list[tuple[str, str]] = []
    notes = []
    for queue, tasks in sorted(report["unregistered"].items()):
        for name, number in sorted(tasks.items()):
            line = f"{number} × {name} in {queue}"
            if name in discarded:
                notes.append(f"to be parked, as discard_tasks says: {line}")
            else:
                refused.append((name, line))
    if left := report["not_looked_at"]:
        notes.append(
            f"{left} waiting tasks were not looked at ({report['looked_at']} were): whether this release has them is not known"
        )
    if not refused:
        return Preflight(None, tuple(notes))
    names = ",".join(sorted({name for name, _ in refused}))
    error = (
        "waiting, and none of this release's tasks, so that its workers would park them: "
        f"{'; '.join(line for _, line in refused)}. Deploy a release that has them, or let them run out first, "
        f"or say that they may be: --data discard_tasks={names}"
    )
    return Preflight(error, tuple(notes))


def judge_broker(
    view: BrokerView,
    plan: Plan,
    hostnames: Collection[str],
    abandoned: frozenset[str] = frozenset(),
    left: frozenset[str] = frozenset(),
    all_known: bool = False,
) -> Preflight:
    """Whether a run that brings the fleet to its plan leaves anything behind. See judge_queues and judge_workers.

    all_known: whether `hostnames` has what every machine of the inventory calls itself. Otherwise no worker is held for one of
    another machine for certain.
    """
    queues = [queue for queue, number in plan.consumers.items() if number]
    unread = () if view.whole else ("not all of the broker was read: other queues may have no consumer",)
    workers = judge_workers(view, queues, hostnames, left)
    if workers.error and not all_known:
        workers = Preflight(None, (f"perhaps {workers.error}", *workers.notes))
    return judge_queues(view, queues, abandoned) + workers + Preflight(None, unread)


def ask_server(url: str, plan: Plan) -> Server | RabbitServer | None:
    """What a broker is, by trying; None for our own Redis, which is what we made it. In our own RabbitMQ, producers may have
    declared queues otherwise than workers do. Raises ProbeError and RefusedError."""
    if plan.fleet.transport == "amqp":
        fixed = (
            "task_default_queue_type" in plan.fleet.settings.left_to_app or "queue-not-quorum" in plan.fleet.settings.lint_ignore
        )
        return probe_rabbitmq.probe(url, () if fixed else sorted(plan.consumers))
    return None if plan.fleet.redis else probe.probe(url)


def judge_server(server: Server | RabbitServer | None, plan: Plan, is_restarted: bool = False) -> Preflight:
    """Whether the fleet can use a broker, and what it has to do without. is_restarted: by the run that asks."""
    if server is None:
        return Preflight(None)
    if isinstance(server, RabbitServer):
        verdict = probe_rabbitmq.judge(server, plan.fleet.rabbitmq is not None, is_restarted)
    else:
        verdict = probe.judge(server, sum(connections_by_role(plan).values()))
    name = plan.fleet.broker_name
    errors = [f"the broker ({name}) is of no use: {error}" for error in verdict.errors]
    return Preflight("\n".join(errors) or None, tuple(f"the broker ({name}): {loss}" for loss in verdict.losses))


def ask_results(hosts: Hosts, fleet: Fleet, known: Mapping[str, str]) -> Preflight:
    """Whether workers can keep results in the Redis that the secrets file names, by trying. Nothing is asked if there is none, or
    if the certificates for it are on the machines alone."""
    try:
        with connect.results_here(hosts, fleet, known) as variables:
            (url,) = variables.values() or [None]
            verdict = probe_results.judge(probe_results.probe(url)) if url else Verdict()
        errors = verdict.errors
    except FleetError as error:
        errors = tuple(str(error).splitlines())
    name = fleet.settings.result_backend.removeprefix(REFERENCE)
    return Preflight("\n".join(f"the results ({name}): {error}" for error in errors) or None)


def as_findings(verdict: Preflight) -> tuple[Finding, ...]:
    """What lint shows of it."""
    errors = verdict.error.splitlines() if verdict.error else []
    return (
        *(Finding("preflight", "error", "broker", error, about=_without_numbers(error)) for error in errors),
        *(Finding("preflight", "note", "broker", note, about=_without_numbers(note)) for note in verdict.notes),
    )


def _without_numbers(line: str) -> str:
    """How many tasks wait is another number in each look."""
    return re.sub(r"(?<![\w.@-])\d+ ", "# ", line)


def judge_queues(
    view: BrokerView, consumers: Collection[str], abandoned: frozenset[str], override: str = "--data abandon_queues="
) -> Preflight:
    """Whether the run leaves a queue without consumers in which tasks wait.

    consumers: queues that some worker of the fleet consumes after the run. abandoned: queues that may be left. override: how the
    user says so.
    """
    refused, notes = [], []
    name = override.rsplit(maxsplit=1)[-1].strip("-=")
    for queue in sorted({*view.waiting, *view.held} - set(consumers)):
        tasks = f"{view.waiting.get(queue, 0)} tasks wait in {queue}"
        if number := view.held.get(queue, 0):
            tasks += f", and workers hold {number} of it"
        if queue in abandoned:
            notes.append(f"left without a consumer, as {name} says: {tasks}")
        elif queue in view.consumed:
            refused.append((queue, tasks))
        else:
            notes.append(f"{tasks}, and no worker of the fleet consumes it")
    if not refused:
        return Preflight(None, tuple(notes))
    names = ",".join(queue for queue, _ in refused)
    error = (
        f"no worker would consume them any more: {'; '.join(tasks for _, tasks in refused)}. Give the queue to a role, or let "
        f"its tasks run out first, or say that they may wait: {override}{names}"
    )
    return Preflight(error, tuple(notes))


def judge_workers(view: BrokerView, queues: Collection[str], hostnames: Collection[str], left: frozenset[str]) -> Preflight:
    """Whether workers of the fleet are alive on machines that are not in the inventory: no run restarts or ends them.

    queues: of the fleet. hostnames: of all machines in the inventory. left: nodes that may go on, or shell patterns of nodes.
    """
    refused, notes = [], []
    for node, consumed in sorted(view.workers.items()):
        if node.partition("@")[2] in hostnames:
            continue
        line = f"{node} consumes {', '.join(consumed)}" if consumed else f"{node} is alive"
        if any(fnmatchcase(node, pattern) for pattern in left):
            notes.append(f"left alone, as leave_workers says: {line}")
        elif parse_node(node):  # of this fleet, or of another one on the same broker
            refused.append((node, line))
        elif set(consumed) & set(queues):
            notes.append(f"{line}, and is no worker of this fleet")
    if not refused:
        return Preflight(None, tuple(notes))
    names = ",".join(node for node, _ in refused)
    host = refused[0][0].partition("@")[2]
    error = (
        f"not in the inventory: {'; '.join(line for _, line in refused)}. They go on with the release that they have, and no run "
        f"ends them. Retire the machine: fleet retire INVENTORY {host} --address ADDRESS (--gone if it is gone). Or put it back "
        f"into the inventory, or say that they may go on: --data leave_workers={names}"
    )
    return Preflight(error, tuple(notes))


def units_alive(view: BrokerView, hosts: Iterable[str]) -> dict[str, list[str]]:
    """Host of the inventory → the units of its workers that are alive, by what they call themselves."""
    host_of = {name: host for host in hosts for name in names_of([host])}
    units: dict[str, list[str]] = {}
    for node in view.workers:
        name = parse_node(node)
        if name and name.hostname in host_of:
            units.setdefault(host_of[name.hostname], []).append(f"celery-{name.role}@{name.instance}.service")
    return units


def judge_leftovers(units: Mapping[str, Iterable[str]], plan: Plan) -> Preflight:
    """Notes the units of workers that no role of their machine asks for any more: a deploy removes them.

    units: host → names of units. Other units than workers', and second instances, are left out.
    """
    leftover: dict[str, list[str]] = {}
    for host, names in units.items():
        if host in plan.fleet.hosts and plan.fleet.hosts[host].workers and host not in plan.workers:
            continue  # it is not known how many instances it has
        planned = {instance.unit for instance in plan.instances_on((host,))}
        if gone := sorted(name for name in names if _WORKER_UNIT.fullmatch(name) and name not in planned):
            leftover[host] = gone
    if not leftover:
        return Preflight(None)
    number = sum(map(len, leftover.values()))
    there = "; ".join(f"{host}: {', '.join(names)}" for host, names in sorted(leftover.items()))
    subject = (
        "1 unit that no role of its machine asks for any more is"
        if number == 1
        else (f"{number} units that no role of their machine asks for any more are")
    )
    return Preflight(None, (f"{subject} drained and removed by a deploy ({there})",))
