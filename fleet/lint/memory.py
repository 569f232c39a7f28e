"""Memory: tasks in their worker, workers in their machine, Redis in its own limit, and room for one more worker during a
rollout."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.lint.app import App
from fleet.lint.finding import Violation, each_role, rule
from fleet.plan import plan as plans
from fleet.plan.plan import Plan
from fleet.plan.sizing import least_child, mib, slot_memory, system_reserve
from fleet.spec.broker import Redis
from fleet.spec.sizes import resolve


@rule("memory-fit", "error")
def memory_fit(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """All tasks of an instance have to fit into memory_max. Otherwise the kernel kills one process after another."""
    for placement in plan.placed:
        if placement.sized.problem:
            yield Violation(f"{placement.path}.concurrency", placement.sized.problem, (placement.host,))


@rule("memory-lowered", "note")
def memory_lowered(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """The memory is too little, so an automatic number was lowered: fewer instances, or fewer tasks at once."""
    for placement in plan.placed:
        if placement.sized.lowered:
            yield Violation(placement.path, placement.sized.lowered, (placement.host,))


@rule("memory-high", "error")
def memory_high(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """memory_high slows a worker down before memory_max kills a process. At or above memory_max it never does."""
    for placement in plan.placed:
        high, limit = placement.sized.memory_high, placement.sized.memory_max
        if limit and high and high >= limit:
            yield Violation(
                f"{placement.path}.memory_high", f"{mib(high)} is not below memory_max {mib(limit)}", (placement.host,)
            )


@rule("memory-tight", "warning")
def memory_tight(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Above memory_high the kernel slows a worker down. A worker that is expected to stay above it is slow all the time."""
    for placement in plan.placed:
        high = placement.sized.memory_high
        if high and high < placement.sized.expected <= placement.sized.memory_max:
            yield Violation(
                f"{placement.path}.memory_max",
                f"{mib(placement.sized.expected)} expected, above memory_high {mib(high)}; lower concurrency, or "
                f"give it more than {mib(placement.sized.memory_max)}",
                (placement.host,),
            )


@rule("memory-assumed", "note")
def memory_assumed(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Without memory_per_slot, a worker is sized for tasks that need next to nothing."""
    for placement in each_role(plan):
        if placement.worker.memory_per_slot is None and placement.worker.pool == "prefork":
            yield Violation(
                f"{placement.path}.memory_per_slot",
                f"not given: taken for {mib(slot_memory(placement.worker))} a task at once",
            )


@rule("recycled-at-once", "error")
def recycled_at_once(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """If max_memory_per_child is below the memory of a child before its first task, every task starts a process."""
    for placement in plan.placed:
        limit = placement.sized.max_memory_per_child
        floor = least_child(placement.worker)
        if limit is not None and limit < floor and not placement.sized.problem:
            yield Violation(
                f"{placement.path}.max_memory_per_child",
                f"{mib(limit)} is less than a child takes to begin with ({mib(floor)}): every task would start a process",
                (placement.host,),
            )


@rule("memory-machine", "error")
def memory_machine(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """If the limits add up to more than the machine has, they limit nothing: the kernel kills the machine's own services
    instead."""
    for host, roles in plan.workers.items():
        machine = plan.machines[host]
        reserve = plan.reserve(host)
        parts = [f"{role} {sized.instances} × {mib(sized.memory_max)}" for role, sized in roles.items()]
        total = sum(sized.instances * sized.memory_max for sized in roles.values()) + reserve
        if roles and total > machine.memory:
            yield Violation(
                "memory_max",
                f"{' + '.join(parts)} + reserve {mib(reserve)}: {mib(total)}, more than the machine's {mib(machine.memory)}",
                (host,),
            )


@rule("memory-surge", "warning")
def memory_surge(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """If a queue has no consumer to spare, a rollout starts the new worker beside the old one. Both have to fit into
    fleet.slice."""
    for placement in plan.placed:
        if all(plan.consumers[queue] > placement.worker.min_consumers for queue in placement.worker.queues):
            continue
        if placement.worker.min_consumers == 0 or placement.sized.problem:
            continue
        room = plan.machines[placement.host].memory - plan.reserve(placement.host)
        expected = sum(sized.instances * sized.expected for sized in plan.workers[placement.host].values())
        if expected + placement.sized.expected > room:
            yield Violation(
                placement.path,
                f"a rollout has to start one more worker beside these: {mib(expected)} + {mib(placement.sized.expected)} "
                f"expected, and there are {mib(room)}; more memory, one more machine, or min_consumers 0",
                (placement.host,),
            )


@rule("broker-memory", "error")
def broker_memory(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """The broker has to refuse tasks (maxmemory of Redis, memory of RabbitMQ) before the kernel kills it (memory_max), and both
    before the machine is out of memory."""
    broker = plan.fleet.own_broker
    for host in plan.fleet.broker_hosts:
        machine = plan.machines.get(host)
        if machine is None or broker is None:
            continue
        reserve = system_reserve(plan.fleet.hosts[host].settings.machine_reserve, machine.memory)
        top = plans.broker_memory(plan.fleet, plan.fleet.hosts[host], machine.memory)
        name, given = ("maxmemory", broker.maxmemory) if isinstance(broker, Redis) else ("memory", broker.memory)
        data = resolve(given, machine.memory)
        if data >= top:
            yield Violation(f"broker.{name}", f"{mib(data)} is not below memory_max {mib(top)}")
        if top + reserve > machine.memory:
            yield Violation(
                "broker.memory_max",
                f"{mib(top)} + reserve {mib(reserve)} are more than the machine's {mib(machine.memory)}",
                (host,),
            )


@rule("broker-rewrite", "warning")
def broker_rewrite(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """While Redis rewrites its append-only file, a copy of all that changes is in memory too: up to all of the data."""
    redis, host = plan.fleet.redis, plan.fleet.broker_host
    machine = plan.machines.get(host) if host else None
    if host is None or machine is None or redis is None or not redis.appendonly:
        return
    data = resolve(redis.maxmemory, machine.memory)
    top = plans.broker_memory(plan.fleet, plan.fleet.hosts[host], machine.memory)
    if 2 * data > top:
        yield Violation(
            "broker.maxmemory",
            f"2 × {mib(data)} while the append-only file is rewritten is more than memory_max {mib(top)}; write at most "
            f"{mib(top // 2)}",
        )
