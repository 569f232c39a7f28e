"""The workers of an app, asked through the broker as a producer of the app reaches them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleet_node import broker
from fleet_node.gate import control_file
from fleet_node.protocol import EXTRA, PROBE_TASK, WorkerState


class WorkerInspector:
    """Asks workers what they do, and whether they run a task. app: a Celery app with the broker of theirs."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._mailbox = app.control.mailbox
        self._broker = broker.of_app(app)

    def ask(self, command: str, timeout: float, nodes: Iterable[str] | None = None) -> dict[str, Any]:
        """Node → its answer to a remote control command, until no worker has answered for `timeout` seconds.

        nodes: the workers to ask; None for all.
        """
        destination = list(nodes) if nodes is not None else None
        replies = self._app.control.broadcast(command, reply=True, timeout=timeout, destination=destination) or []
        answers: dict[str, Any] = {}
        for reply in replies:
            answers |= {node: answer for node, answer in reply.items() if not (isinstance(answer, dict) and "error" in answer)}
        return answers

    def consumed(self, expected: int, patience: float) -> dict[str, list[str]]:
        """Node → queues that it consumes. Asks until `expected` workers have answered, for at most `patience` seconds.

        Which workers are up is not known before, so none is cut off.
        """
        consumed: dict[str, list[str]] = {}
        deadline = time.monotonic() + patience
        while len(consumed) < expected and (left := deadline - time.monotonic()) > 0:
            answers = self.ask("active_queues", min(1.0, left))
            consumed |= {node: sorted(queue["name"] for queue in queues) for node, queues in answers.items()}
        own = self._own([node for node in consumed if EXTRA not in node], consumed)
        return {node: own.get(node, []) for node in consumed}

    def _own(self, nodes: list[str], consumed: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """Node → the queues that it consumes for good, of these. Who is lent out for a queue may leave it at any time, and does
        not count; nor does who does not answer. consumed: all that each consumes: releases that know no loans have none."""
        own: dict[str, list[str]] = {}
        for _ in range(2):
            if silent := [node for node in nodes if node not in own]:
                replies = self._app.control.broadcast("fleet_own", reply=True, timeout=2.0, limit=len(silent), destination=silent)
                for node, answer in (item for reply in replies or () for item in reply.items()):
                    own[node] = consumed[node] if "error" in answer else answer["queues"]
        return own

    def states(self, nodes: Iterable[str], patience: float) -> dict[str, WorkerState]:
        """Node → its state, of those that answer within `patience` seconds."""
        missing, states = set(nodes), dict[str, WorkerState]()
        deadline = time.monotonic() + patience
        while missing and (left := deadline - time.monotonic()) > 0:
            answers = self.ask("fleet_state", min(2.0, left), missing)
            states |= answers
            missing -= set(answers)
        return states

    def all_states(self) -> dict[str, WorkerState]:
        """Node → its state, of all workers that are up."""
        return self.ask("fleet_state", 2.0)

    def probe(self, queue: str, patience: float) -> bool:
        """Whether a probe task comes back within `patience` seconds. It goes to the head of the queue: behind a long queue it
        would wait for hours. True, too, if the broker has no way to put it there, and others wait."""
        token = uuid.uuid4().hex
        aside = f"{PROBE_TASK}.{token}"
        with self._app.connection_for_write() as connection:
            channel = connection.default_channel
            own = self._broker.own_queue(aside)[0]
            result = self._app.send_task(PROBE_TASK, [token], queue=own, expires=300, connection=connection)
            is_next = self._broker.to_the_head(channel, aside, queue)
            self._broker.delete_own_queue(channel, aside)
        if not is_next:
            result.forget()
            return True
        return _came_back(result, token, patience)

    def own_probe(self, node: str, patience: float, first: float) -> bool:
        """Whether one worker runs a probe task that no other worker can take: it gets a queue of its own for a moment. first:
        seconds that the task may take."""
        token = uuid.uuid4().hex
        name = f"{PROBE_TASK}.{token}"
        queue, options = self._broker.own_queue(name)
        self._app.control.add_consumer(name, destination=[node], reply=True, timeout=patience, options=options)
        try:
            result = self._app.send_task(PROBE_TASK, [token], queue=queue, expires=300)
            return _came_back(result, token, first)
        finally:
            self._app.control.cancel_consumer(name, destination=[node], reply=True, timeout=patience)
            with self._app.connection_for_write() as connection:
                self._broker.delete_own_queue(connection.default_channel, name)

    def close(self) -> None:
        """Leave nothing in the broker: a reply queue without a reader stays for ever (celery#6089)."""
        with self._app.connection_for_write() as connection:
            self._mailbox(connection).reply_queue(connection.default_channel).delete()
        self._app.close()


def connect(control: str | None, app_name: str) -> WorkerInspector:
    """The workers of an app, reached as the ControlFile at `control` and the fleet's settings say.

    The app itself is imported only if it has a serializer of its own, which nothing else can read.
    """
    from celery import Celery
    from celery.app.utils import find_app
    from kombu.serialization import registry

    settings = control_file.combined(control_file.read(Path(control)) if control else {})
    own = {settings.get("task_serializer"), settings.get("result_serializer")} - {None, *registry.name_to_type}
    app = find_app(app_name) if own else Celery("fleet", set_as_current=False)
    app.conf.update({name: value for name, value in settings.items() if name in control_file.SETTINGS})
    app.conf.update(broker_url=os.environ["CELERY_BROKER_URL"], result_backend=os.environ["CELERY_RESULT_BACKEND"])
    return WorkerInspector(app)


def _came_back(result: Any, token: str, patience: float) -> bool:
    try:
        return bool(result.get(timeout=patience)["token"] == token)
    except Exception:  # no answer in time, an answer without the token, no backend: all the same here
        return False
    finally:
        result.forget()
