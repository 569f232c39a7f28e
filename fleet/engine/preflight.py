"""The look into the broker before anything changes, at the edge: in --dry as well."""

from __future__ import annotations

from pyinfra.context import host, inventory

from fleet.broker import connect
from fleet.broker.look import look
from fleet.broker.management import Management, strangers
from fleet.broker.probe_rabbitmq import ALARM, RabbitServer
from fleet.broker.view import BrokerView
from fleet.engine.run import Run
from fleet.errors import FleetError
from fleet.rollout.preflight import ask_results, ask_server, judge_broker, judge_leftovers, judge_server, names_in, names_of
from fleet.spec import endpoint
from fleet.spec.endpoint import Way
from fleet.spec.fleet import Host
from fleet.spec.rabbitmq import UNIT, node
from fleet.state.diff import compare


class UnknownPasswordError(FleetError):
    """The run would give workers a password that the broker does not accept yet."""


class SplitError(FleetError):
    """The nodes of our own RabbitMQ are several clusters."""


def refuse_unknown_passwords(way: Way, brings_broker: bool, broker: str) -> None:
    """Raises UnknownPasswordError if the broker does not accept a password, and the run does not change that."""
    if way.passwords and not brings_broker:
        names = " and ".join(way.passwords)
        raise UnknownPasswordError(f"nothing was changed: {broker} does not accept the new {names} yet: deploy without --limit")


def refuse_split(run: Run, api: Management) -> None:
    """Raises SplitError if nodes of RabbitMQ run that are not in one cluster: none of them sees the tasks of the others. Raises
    OSError if it is not answered."""
    fleet = run.fleet
    units = {name: run.observed[name].units.get(UNIT) for name in fleet.broker_hosts if name in run.observed}
    hosts = {node(fleet.address_of(name)): name for name, unit in units.items() if unit and unit.active and unit.revision}
    if others := strangers(api.get("nodes"), hosts):
        asked = api.get("overview")["node"]
        raise SplitError(
            f"nothing was changed: RabbitMQ on {', '.join(others)} is not in the cluster of {asked}, so that neither "
            "sees the other's tasks. When its queues are empty (rabbitmqctl list_queues -p fleet), have it join, there: "
            f"rabbitmqctl stop_app && rabbitmqctl reset && systemctl stop {UNIT}; and deploy again"
        )


def restarts_rabbitmq(run: Run) -> bool:
    """Whether a deploy restarts our own RabbitMQ on a host, before it looks at workers."""
    for role in run.roles:
        if UNIT in role.UNITS:
            changes = (compare(run.desired(role, each), run.observed[each.name]) for each in _broker_hosts(run))
            return any(UNIT in change.restart for change in changes)
    return False


def _broker_hosts(run: Run) -> list[Host]:
    return [run.fleet.hosts[name] for name in run.fleet.broker_hosts if name in run.observed]


def refuse_what_strands(run: Run, brings_broker: bool) -> None:
    """Raises FleetError if the run would leave behind tasks or workers that nobody looks after, or if the broker is of no use.
    What is no error is noted. brings_broker: whether it restarts a broker of ours whose settings have changed."""
    run.notes.update(dict.fromkeys(judge_leftovers({name: seen.units for name, seen in run.observed.items()}, run.plan).notes))
    records, is_ours = run.fleet.records_host, run.fleet.own_broker is not None
    observed = run.observed.get(records)
    if records.startswith("@") or (is_ours and observed is not None and observed.history is None):
        return  # no machine that SSH leads to, or no run has ended there: there is no broker of ours yet
    try:
        between = connect.jump_hosts(run.fleet)
        hosts = {name: inventory.get_host(name).data.dict() for name in between}  # type: ignore[no-untyped-call]
        with connect.reached(hosts, run.fleet, run.secrets) as way:
            refuse_unknown_passwords(way, run.fleet.broker_host in run.observed, run.fleet.broker_name)
            monitor = endpoint.broker(run.fleet, run.secrets, "monitor", way=way)
            with connect.management(hosts, run.fleet, monitor) as api:
                try:
                    if api and len(run.fleet.broker_hosts) > 1:
                        refuse_split(run, api)
                except OSError as error:
                    run.notes[f"whether RabbitMQ's nodes are one cluster is not known: {error}"] = None
                url = endpoint.broker(run.fleet, run.secrets, way=way).url
                server = ask_server(url, run.plan)
                verdict = judge_server(server, run.plan, brings_broker and restarts_rabbitmq(run))
                is_full = isinstance(server, RabbitServer) and ALARM in server.forbidden  # it does not read what asks workers
                is_asked = verdict.error is None and not is_full
                view = look(url, run.plan.consumers, management=api) if is_asked else BrokerView(whole=not is_full)
        for problem in connect.problems_of_nodes(hosts, run.fleet, run.secrets):
            run.notes[f"the broker ({run.fleet.broker_name}): {problem}; workers that lose its other nodes stay without"] = None
    except (UnknownPasswordError, SplitError):
        raise
    except FleetError as error:
        if not is_ours:
            raise FleetError(f"the broker ({run.fleet.broker_name}) is not reached, and nothing was changed: {error}") from None
        run.notes[f"the broker was not asked what waits in its queues: {error}"] = None
        return
    verdict += ask_results(hosts, run.fleet, run.secrets)
    hostnames = names_of(run.fleet.hosts) | {machine.hostname for machine in run.observed.values()}
    abandoned, left = (names_in(host.data.get(name)) for name in ("abandon_queues", "leave_workers"))
    all_known = all(name in run.observed and run.observed[name].hostname for name in run.fleet.hosts)
    verdict += judge_broker(view, run.plan, hostnames, abandoned, left, all_known)
    if verdict.error:
        raise FleetError("nothing was changed:\n    " + verdict.error.replace("\n", "\n    "))
    run.notes.update(dict.fromkeys(verdict.notes))
