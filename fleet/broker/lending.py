"""Tells workers what they are lent out for (`fleet_node.worker.loans`), through the broker, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.broker.port import Port

ANSWER = 3.0
"""Seconds that a worker has to answer."""


def tell(port: Port, loans: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Node → why it is not lent out so, of those that are not. loans: node → the arguments of fleet_lend."""
    from celery import Celery

    problems: dict[str, str] = {}
    with Celery(broker=port.url, set_as_current=False) as app:
        app.conf.update(port.settings)
        for node, arguments in loans.items():
            replies = app.control.broadcast(
                "fleet_lend", arguments=dict(arguments), destination=[node], reply=True, timeout=ANSWER, limit=1
            )
            answer = (replies or [{}])[0].get(node)
            if answer is None:
                problems[node] = f"does not answer in {ANSWER:g} s"
            elif "error" in answer:
                problems[node] = str(answer["error"])
    return problems
