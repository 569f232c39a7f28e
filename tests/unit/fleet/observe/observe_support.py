"""A machine without systemd, as `fleet load` would see it."""

import socket
from contextlib import closing
from pathlib import Path

from fleet.broker.port import AwayError, opened
from fleet.observe import broker
from fleet.observe.machine import Machine as Observed
from fleet.observe.machine import Unit
from fleet.observe.workers import Load, WorkerLoad, load_of
from fleet.plan.facts import MachineFacts
from tests.unit.fleet_support import fleet_of, plan_of
from tests.unit.process_support import Machine
from tests.unit.shop_support import redis_url

HOST = "web1"


def look(here: Machine, workers: int = 1, lease: float | None = 60) -> Load:
    """The load of a fleet with this machine alone, which should have some workers of the role web."""
    settings = {"queues": ["default"], "instances": workers, "concurrency": here.concurrency, "memory_per_slot": "1M"}
    plan = plan_of(fleet_of({"web": settings}, hosts_a_role=1))
    url = redis_url(here.port)
    with closing(socket.socket()) as probe:
        reached = probe.connect_ex(("127.0.0.1", here.port)) == 0
    units = {f"celery-web@{number}.service": _unit(here, number) for number in range(1, workers + 1)}
    observed = Observed(here.hostname, MachineFacts(2, 1 << 30), reaches_broker=reached, units=units)
    return load_of(plan, {HOST: observed}, {}, _report(url, lease))


def _report(url: str, lease: float | None) -> broker.BrokerReport:
    try:
        with opened(url) as port:
            return broker.ask(port, lease, broker.Expected())
    except AwayError as error:
        return broker.absent(broker.away(error))


def worker(here: Machine, number: int = 1, workers: int = 1) -> WorkerLoad:
    """One worker of it."""
    return look(here, workers).workers[number - 1]


def _unit(here: Machine, number: int) -> Unit:
    process = here.running.get(f"celery-web@{number}.service")
    if process is None or process.poll() is not None:
        return Unit("failed", result="signal")
    (state,) = [line.split()[1] for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "State" in line]
    return Unit("active", "running", process=state)
