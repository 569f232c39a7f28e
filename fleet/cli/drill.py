"""`fleet drill …`: the commands."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.broker import connect
from fleet.broker.port import AwayError
from fleet.cli.arguments import InventoryFile, say
from fleet.drill import beat as beat_drill
from fleet.drill import broker as drill_broker
from fleet.drill import fault as fault_drill
from fleet.drill import phases as drill_phases
from fleet.drill import report, scenarios
from fleet.drill.context import DrillContext, is_local
from fleet.drill.errors import DrillError
from fleet.drill.faults import FAULTS, UNIT, Fault
from fleet.drill.outcome import RECOVERY_SECONDS, START_SECONDS
from fleet.drill.phases import PATIENCE, PHASES
from fleet.drill.reached import reached
from fleet.drill.releases import BROKEN, module_of
from fleet.drill.runs import Runs
from fleet.drill.watch import Watch
from fleet.inventory.ask import ask_machines
from fleet.inventory.read import read_inventory
from fleet.inventory.ssh import forward
from fleet.plan import facts
from fleet.plan.plan import REDIS_DEFAULT, Plan, resolved
from fleet.plan.process import beat_node
from fleet.rollout import lock
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from fleet.spec.reliability import RABBITMQ_RELIABILITY

HEARTBEAT = RABBITMQ_RELIABILITY["broker_heartbeat"]
"""Seconds. A connection to RabbitMQ ends after three without a sign."""

app = typer.Typer(help="Try the fleet's promises on the fleet itself.", no_args_is_help=True, rich_markup_mode=None)

GroupData = Annotated[Path | None, typer.Option(help="More group data, as pyinfra's --group-data.", exists=True, file_okay=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before a drill on machines other than this machine's lab.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Role = Annotated[str | None, typer.Option(help="The role whose worker or machine is affected.", metavar="NAME")]


@app.command("rollout")
def drill_rollout(
    file: InventoryFile,
    phases: Annotated[str, typer.Option(metavar="NAMES", help=f"Which of these, in this order: {', '.join(PHASES)}.")] = ",".join(
        PHASES
    ),
    group_data: GroupData = None,
    before: Annotated[
        float, typer.Option(help="Seconds of load before the first phase, and after the last.", min=0, max=3600)
    ] = 20,
    log: Annotated[Path, typer.Option(help="The file for pyinfra's output.")] = Path("drill.log"),
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Deploy, restart and roll back under a steady load of numbered tasks, with good releases and bad ones, and account for each.

    The tasks are this project's own (fleet.drill); no task of yours is sent. The phase "fails every task" also fails your tasks,
    on one worker for some seconds: leave it out in production. If a phase brings another release, the drill ends with the phase
    "as before", which deploys the release of your sources.

    Exit code: 0; 1 if a task was lost or run twice, or a phase failed; 2 if the drill itself was cut off.

    Example: fleet drill rollout inventory/lab.py --phases release,restart,rollback
    """
    from fleet.drill import load  # imported here: it imports Celery, which no other command needs

    names = drill_phases.complete([name.strip() for name in phases.split(",") if name.strip()])
    inventory = read_inventory(file, group_data)
    fleet = load_fleet(inventory)
    if set(names) & set(BROKEN):
        module_of(Path(fleet.settings.app_source), fleet.settings.celery_app)
    log.write_text("")
    _confirm(file, inventory, yes, f"restart its workers ({', '.join(names)})")
    plan = _plan(fleet, inventory)
    more = ["--group-data", str(group_data)] if group_data else []
    with _cut_off_explained(fleet, drill_phases.CUT_OFF.format(file)), reached(inventory, fleet) as there:
        started = time.monotonic()
        with load.Producer(there.broker, load.mix(plan), ledger=there.ledger) as producer:
            done = drill_phases.run_phases(Runs(file, plan, inventory.hosts, more, log, say), producer, names, before)
            producer.stop()
            say("waiting for what was sent …")
            producer.wait_until_finished(PATIENCE)
            account = drill_phases.account(producer, done, time.monotonic() - started)
    _print(account, report.show, as_json)
    raise typer.Exit(1 if account["lost"] or account["run_twice"] or any(phase.problem for phase in done) else 0)


@app.command("roll", hidden=True)
@functools.wraps(drill_rollout)
def drill_roll(*arguments: Any, **options: Any) -> None:
    """The earlier name of `fleet drill rollout`."""
    say("fleet drill roll: the command's name is fleet drill rollout now")
    drill_rollout(*arguments, **options)


def drill_fault(
    fault: Fault, file: Path, role: str | None, group_data: Path | None, before: float, yes: bool, as_json: bool
) -> None:
    """Do one fault under load, print the account, and exit."""
    from fleet.drill import load

    inventory = read_inventory(file, group_data)
    fleet = load_fleet(inventory)
    drill_broker.refuse(fault, fleet)
    _confirm(file, inventory, yes, fault.action)
    plan = _plan(fleet, inventory)
    placement = fault_drill.choose_placement(fault, plan, role)
    cut_off = "what it broke ends by itself" if fault.lasts else "what it broke systemd brings back"
    with _cut_off_explained(fleet, cut_off), reached(inventory, fleet) as there:
        started = time.monotonic()
        with load.Producer(there.broker, load.mix(plan), outages=True, ledger=there.ledger) as producer:
            context = DrillContext(plan, inventory.hosts, producer, there.broker, say, there.addresses)
            # A dead machine's tasks come back when its lease is over; without one, after the visibility timeout.
            patience = PATIENCE + (plan.lease or plan.visibility_timeout or REDIS_DEFAULT)
            done = fault_drill.run(fault, context, placement, before, patience)
        account = {**done.as_json(), "seconds": round(time.monotonic() - started, 1)}
    _print(account, report.show_fault, as_json)
    raise typer.Exit(1 if account["lost"] or account["went_wrong"] else 0)


@app.command("kill-beat")
def drill_kill_beat(
    file: InventoryFile,
    group_data: GroupData = None,
    before: Annotated[float, typer.Option(help="Seconds before the kill, and after another leads.", min=0, max=120)] = 10,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Kill the beat that leads (SIGKILL), and account for each run of an entry that is due every second.

    If another host has a beat, the killed one stays away for a minute, as if its machine had died. Systemd starts it again even
    if the drill is cut off. The entry is this project's own, and goes to a queue that no worker consumes.

    Exit code: 0; 1 if a run was skipped or sent twice, or nobody led within 30 s; 2 if the drill itself was cut off.

    Example: fleet drill kill-beat inventory/lab.py
    """
    from redis import Redis

    from fleet.broker.keys import prefix_of

    inventory = read_inventory(file, group_data)
    fleet = load_fleet(inventory)
    if not fleet.beat_hosts:
        raise DrillError("the inventory has no group beat: docs/beat.md")
    drill_broker.refuse_beat(fleet)
    _confirm(file, inventory, yes, "kill the beat that leads")
    ask = {host: functools.partial(lock.ask, host, inventory.hosts[host]) for host in fleet.beat_hosts}
    hosts = {beat_node(ask[host]("uname -n")[1].strip()): host for host in fleet.beat_hosts}

    def kill(node: str) -> None:
        if node not in hosts:
            raise DrillError(f"{node} leads, and is on no host of the group beat")
        ask[hosts[node]](beat_drill.kill_command(alone=len(hosts) == 1))

    with _cut_off_explained(fleet, "what it broke systemd brings back"), connect.broker(inventory, fleet) as urls:
        with Redis.from_url(urls["CELERY_BROKER_URL"], decode_responses=True, socket_timeout=30) as redis:
            done = beat_drill.run(redis, prefix_of(redis), kill, say, before)
        if len(hosts) > 1:
            ask[hosts[done.killed]](f"systemctl stop {UNIT} 2>/dev/null || true")  # its end starts the beat again
    _print(done.as_json(), report.show_beat, as_json)
    raise typer.Exit(1 if done.all_problems else 0)


@app.command("alarms")
def drill_alarms(
    file: InventoryFile,
    only: Annotated[str, typer.Option(metavar="NAMES", help=f"Which of these: {', '.join(scenarios.SCENARIOS)}.")] = "",
    group_data: GroupData = None,
    log: Annotated[Path, typer.Option(help="The file for pyinfra's output.")] = Path("drill.log"),
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Do one fault after the other, and see which alerts the monitor sends: those that it should, soon enough, and no others.

    The inventory needs a group monitor. Each fault lasts until its alerts have been sent; a restart of all workers, and faults
    from which the fleet recovers by itself, must send none. All of it takes about an hour. The tasks are this project's own.

    Exit code: 0; 1 if an alert was not sent in time, or another one was; 2 if the drill itself was cut off.

    Example: fleet drill alarms inventory/lab.py --only worker-away,broker-away
    """
    from fleet.drill import alarms, load

    chosen = scenarios.chosen(only)
    inventory = read_inventory(file, group_data)
    fleet = load_fleet(inventory)
    if fleet.monitor_host is None:
        raise DrillError("the inventory has no group monitor, so there are no alerts: docs/monitoring.md")
    _confirm(file, inventory, yes, f"break it in {len(chosen)} ways ({', '.join(scenario.name for scenario in chosen)})")
    log.write_text("")
    plan = _plan(fleet, inventory)
    more = ["--group-data", str(group_data)] if group_data else []
    monitor = inventory.hosts[fleet.monitor_host]
    cut_off = f"what it broke ends by itself within {scenarios.LONGEST // 60} minutes"
    with (
        _cut_off_explained(fleet, cut_off),
        reached(inventory, fleet) as there,
        forward(fleet.monitor_host, monitor, fleet.monitor_address, 9090) as prometheus,
        forward(fleet.monitor_host, monitor, fleet.monitor_address, 9093) as alertmanager,
        load.Producer(there.broker, load.mix(plan), outages=True, ledger=there.ledger) as producer,
        Watch(prometheus, alertmanager) as watch,
    ):
        context = DrillContext(plan, inventory.hosts, producer, there.broker, say, there.addresses)
        drill = alarms.Drill(context, Runs(file, plan, inventory.hosts, more, log, say), watch)
        drill.wait_for_earlier_starts(chosen)
        results = [drill.run(scenario) for scenario in chosen]
        producer.stop()
    _print({"scenarios": [done.as_json() for done in results]}, report.show_alarms, as_json)
    raise typer.Exit(1 if any(done.problems for done in results if not done.skipped) else 0)


def fault_command(fault: Fault) -> Callable[..., None]:
    """The function of `fleet drill <fault>`. Typer reads its options from the signature."""

    def command(
        file: InventoryFile,
        role: Role = None,
        group_data: GroupData = None,
        before: Annotated[float, typer.Option(help="Seconds of load before the fault, and after.", min=0, max=3600)] = 15,
        yes: Yes = False,
        as_json: Json = False,
    ) -> None:
        drill_fault(fault, file, role, group_data, before, yes, as_json)

    return command


def fault_help(fault: Fault) -> str:
    """The help text of `fleet drill <fault>`."""
    seconds = RECOVERY_SECONDS + (START_SECONDS if fault.kills == "worker" else 0)
    within = f"the lease and {seconds:.0f} s" if fault.kills == "machine" else f"{seconds:.0f} s"
    rabbitmq = f", and one on RabbitMQ {3 * HEARTBEAT} s" if fault.kills == "machine" else ""
    no_lease = f"A fleet without a lease has the visibility timeout instead{rabbitmq}.\n\n" if fault.kills else ""
    return (
        f"{fault.action[0].upper()}{fault.action[1:]}.\n\n"
        "The drill sends a steady load of numbered tasks, which are this project's own; no task of yours is sent. It reports how "
        "many tasks were lost or run twice, how long it took until every affected worker had started a task again, and what "
        "restarted.\n\n"
        f"Exit code: 0; 1 if a task was lost, or a worker was not back within {within} of the fault's end; 2 if the drill itself "
        f"was cut off.\n\n{no_lease}"
        f"Example: fleet drill {fault.name} inventory/lab.py --json"
    )


for _fault in FAULTS.values():
    app.command(_fault.name, help=fault_help(_fault))(fault_command(_fault))


def _print(account: dict[str, Any], show: Callable[[dict[str, Any], Console], None], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(account))
    else:
        show(account, Console())


def _confirm(file: Path, inventory: Inventory, yes: bool, action: str) -> None:
    """Ask before a drill on machines that are not this machine's lab."""
    if not is_local(inventory.hosts) and not yes:
        typer.confirm(f"{file} is no lab of this machine. The drill will {action}. Go on?", abort=True, err=True)


def _plan(fleet: Fleet, inventory: Inventory) -> Plan:
    """The fleet, sized to its machines. Raises DrillError if one does not answer."""
    try:
        return resolved(fleet, ask_machines(inventory.hosts, lambda _: None))
    except facts.FactsError as error:  # its advice about --assume is for fleet lint
        raise DrillError(str(error).partition("offline, say")[0].rstrip()) from None


@contextmanager
def _cut_off_explained(fleet: Fleet, cut_off: str) -> Iterator[None]:
    """Tell the user what a drill that is cut off leaves behind. Raises DrillError if the broker does not answer."""
    from amqp.exceptions import AMQPError
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    try:
        yield
    except (OperationalError, RedisError, AMQPError, AwayError) as error:
        raise DrillError(f"{fleet.broker_name}: the broker does not answer: {error}; {cut_off}") from None
    except KeyboardInterrupt:
        say(f"\ninterrupted; {cut_off}")
        raise
