"""Ask workers through the broker, whichever it is. Only a question: nothing of theirs changes."""

from __future__ import annotations

from collections.abc import Collection

from fleet.broker import entries
from fleet.broker.port import Port
from fleet_node.protocol import WorkerSign

ANSWER = 1.0
"""Seconds that workers have to answer, each of two times."""


def try_workers(port: Port, expected: Collection[str], counts: bool = False) -> tuple[dict[str, WorkerSign], str]:
    """What ask_workers returns, and why they were not asked: a Redis that is full refuses the question."""
    try:
        return ask_workers(port, expected, counts), ""
    except Exception as error:  # of kombu, redis and amqp
        return {}, f"the workers were not asked: {error}"


def ask_workers(port: Port, expected: Collection[str], counts: bool = False) -> dict[str, WorkerSign]:
    """Node → its answer to `fleet_sign`. expected: nodes that should answer: the silent are asked once more, and if all have
    answered, nothing is waited for. counts: with what they have counted."""
    from celery import Celery

    answers: dict[str, WorkerSign] = {}
    with Celery(broker=port.url, set_as_current=False) as app:
        app.conf.update(port.settings)
        for attempt in range(2):
            silent = [node for node in expected if node not in answers]
            if attempt and not silent:
                break
            replies = app.control.broadcast(
                "fleet_sign",
                arguments={"counts": counts},
                reply=True,
                timeout=ANSWER,
                limit=len(silent) or None,
                destination=silent if attempt else None,
            )
            for reply in replies or ():
                answers |= {node: sign for node, answer in reply.items() if (sign := entries.sign(answer))}
    return answers
