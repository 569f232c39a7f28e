"""Reads the broker for `queues`: what waits, what workers hold, and what is parked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from fleet.broker.keys import node_of
from fleet.broker.port import Port
from fleet.broker.workers import try_workers
from fleet.observe.broker import Expected, silent
from fleet.observe.queues import Sample
from fleet.observe.states import RECENT
from fleet_node.protocol import WorkerSign


def samples(port: Port, seconds: float, lease: float | None, expected: Expected) -> tuple[Sample | None, Sample]:
    """The broker now, and, if `seconds` is not 0, that many seconds before. port: with the worker's user. lease: in seconds.
    Raises what `fleet.broker.port.opened` turns into AwayError."""
    before = sample(port, lease, expected) if seconds else None
    time.sleep(seconds)
    now = sample(port, lease, expected)
    return before, replace(now, ages={**port.unconsumed(set(now.ages)), **now.ages})


def sample(port: Port, lease: float | None, expected: Expected) -> Sample:
    """The broker at this moment."""
    leases = port.leases()
    answers, problem = try_workers(port, {node_of(holder) for holder in leases} or expected.nodes, counts=True)
    moment = port.moment(lease, {*expected.queues, *(queue for sign in answers.values() for queue in sign["queues"])})
    last_signs = {
        node: sign
        for node, (sign, _) in moment.signs.items()
        if node not in answers and (age := moment.renewed.get(node)) is not None and age < RECENT
    }
    problem = problem or doubts(moment.consumers, answers)
    away = silent(leases, {**answers, **last_signs})
    return Sample(
        at=moment.at,
        answers=answers,
        ages=moment.ages,
        held=port.held(away),
        returns={
            node_of(holder): None if leases[holder] == float("inf") else max(0.0, leases[holder] - moment.at) for holder in away
        },
        last_signs=last_signs,
        signs=moment.signs,
        renewed=moment.renewed,
        problem=problem,
        parked=moment.parked,
        consumers=moment.consumers,
        present=port.present({*expected.nodes, *answers}),
        unknown=port.unknown,
    )


def doubts(consumers: Mapping[str, int], answers: Mapping[str, WorkerSign]) -> str:
    """What is odd about a RabbitMQ, in words; empty if nothing is. Of a queue that has lost its majority together with the node
    that led it, RabbitMQ says that nobody consumes it and that nothing waits. consumers: as RabbitMQ counts them."""
    consumed = {queue for sign in answers.values() if not sign["draining"] for queue in sign["queues"]}
    if lost := sorted(queue for queue, number in consumers.items() if not number and queue in consumed):
        return (
            f"RabbitMQ counts no consumer of {', '.join(lost)}, and workers consume it: the queue may have lost its majority, "
            "and what waits there is not known then"
        )
    return ""
