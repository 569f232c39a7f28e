"""`python -m fleet_node.app.retire APP NODE…`: gives back at once what workers held whose machine is gone.

It reads a worker's environment as NAME=value lines on stdin, and prints a RetiredWorkers (`fleet_node.protocol`) on a line of its
own, after RETIRED_MARK. If one of the workers has given a sign of life lately, nothing is given back: the machine is not gone.
With RabbitMQ nothing is to be done: it gives back what a worker held as its connection ends.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Collection, Sequence
from typing import Any

from redis import Redis

from fleet_node import broker
from fleet_node.app.check import take_environment
from fleet_node.delivery import sweep
from fleet_node.delivery.clients import client_of
from fleet_node.delivery.keys import Keys, node_of
from fleet_node.delivery.lease import LATE
from fleet_node.delivery.scripts import CLAIM_SILENT
from fleet_node.protocol import RETIRED_MARK, RetiredWorkers

MAILBOXES = "_kombu.binding.celery.pidbox"
"""Set of kombu's: the mailboxes of workers. One that was killed leaves its own there for ever."""

ANSWERS_IN = 3.0
"""Seconds for workers to answer, if the broker knows of no lease."""


def counts_as_alive(ends: float, said: float | None, lease: float, now: float) -> float:
    """Seconds for which a holder still counts as alive: until half of its lease has passed since its last sign of life.

    ends: Redis's time at which its lease ends. said: when it last said that it has what it holds; None if it holds nothing, and
    then it renews its lease every half of it. lease: of the fleet, for a holder that does not show its own. now: Redis's time.
    """
    if ends == math.inf:
        return math.inf
    if said is None:
        return ends - lease / 2 + LATE - now
    return said + max(0.0, ends - said) / 2 - now


def give_back(client: Redis, keys: Keys, nodes: Collection[str], lease: float) -> RetiredWorkers:
    """Give back what these workers hold, unless one of them is alive. Raises RedisError."""
    report: RetiredWorkers = {"given_back": {}, "alive": {}, "refusal": ""}
    seconds, microseconds = client.time()
    now = int(seconds) + int(microseconds) / 1e6
    holders = {holder: ends for holder, ends in sweep.leases(client, keys).items() if node_of(holder) in nodes}
    for holder, ends in holders.items():
        left = counts_as_alive(ends, _said(client, keys, holder), lease, now)
        if left > 0:
            report["alive"][node_of(holder)] = None if left == math.inf else round(left, 1)
    if report["alive"]:
        return report
    pairs = [value for holder, ends in holders.items() for value in (holder, repr(ends))]
    claimed: Any = client.eval(CLAIM_SILENT, 2, keys.workers, keys.swept, *pairs) if pairs else []
    for holder in claimed:
        done = sweep.give_back_all(client, keys, holder)
        node = node_of(holder)
        report["given_back"][node] = report["given_back"].get(node, 0) + done.number
        report["refusal"] = done.refusal or report["refusal"]
        forget(client, keys, holder)
    # One that renewed its lease just now has what it had.
    report["alive"] = {
        node_of(holder): lease / 2 for holder in holders.keys() - {*claimed} if client.zscore(keys.workers, holder)
    }
    return report


def forget(client: Redis, keys: Keys, holder: str) -> None:
    """Remove what else in Redis has the name of a worker that is gone: its bells, and its mailbox."""
    bells = re.sub(r"([\\*?\[\]])", r"\\\1", keys.bell(holder))
    for key in client.scan_iter(match=f"{bells}.*", count=1000):
        client.delete(key)
    mailboxes = keys.prefix + MAILBOXES
    for binding in client.sscan_iter(mailboxes, count=1000):
        if binding.rpartition("\x06\x16")[2] == f"{node_of(holder)}.celery.pidbox":
            client.srem(mailboxes, binding)


def _said(client: Redis, keys: Keys, holder: str) -> float | None:
    """Redis's time at which a holder last said that it has what it holds."""
    tags: Sequence[str] = client.hkeys(keys.held(holder))  # type: ignore[assignment]
    with client.pipeline(transaction=False) as pipeline:
        for tag in tags:
            pipeline.zscore(keys.index, tag)
        return max((float(score) for score in pipeline.execute() if score is not None), default=None)


def alive(app: Any, nodes: Collection[str]) -> dict[str, float | None]:
    """RetiredWorkers.alive, of a broker that gives back by itself what a worker held when its connection is gone: who answers."""
    answers = app.control.ping(destination=list(nodes), timeout=ANSWERS_IN)
    return {node: None for answer in answers for node in answer}


def main() -> int:
    """Run the command line."""
    app_name, *nodes = sys.argv[1:]
    take_environment()
    from celery.app.utils import find_app

    from fleet_node.worker import settings

    app = find_app(app_name)
    given = settings.of_environment()
    settings.apply(app, given)
    with app.connection_for_write() as connection:
        if broker.kind_of(connection) == "amqp":
            return _say({"given_back": {}, "alive": alive(app, nodes), "refusal": ""})
        channel = connection.default_channel
        keys = Keys(channel.global_keyprefix, channel.unacked_key, channel.unacked_index_key)
        with client_of(channel) as client:
            report = give_back(client, keys, nodes, given.get("lease") or 0)
    return _say(report)


def _say(report: RetiredWorkers) -> int:
    sys.stdout.write(f"\n{RETIRED_MARK}{json.dumps(report)}\n")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread of the app would keep the process alive
