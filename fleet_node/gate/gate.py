"""`python -m fleet_node.gate`: whether workers that came up do their work, asked of them through the broker.

Started by `fleet_node.step` beside a step. It does not import the app: that takes seconds and memory, and an app may do anything.
What it has to know of the app's settings a worker leaves in its control.json (`fleet_node.worker`). On stdin, as JSON:
    {"environment": {name: value}, "expected": how many workers should answer, "look": seconds for that, "settle": seconds,
     "patience": seconds until an answer, and until a probe task is back, "control": path of a control.json, or null,
     "app": what follows `celery -A`, "going": nodes that go down in this step}
It answers with a line {"consumed": {node: queues}} of all workers that are up now. Then, on stdin, lines
    {"nodes": {node: queues}, "role": "web", "canary": bool, "going": nodes that are none to compare with, "control": path}
each answered with {"problems": {node: reason}, "notes": […]}; none where all is well. It ends with stdin.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from fleet_node.gate.canary import fails_more

SETTINGS = (
    "accept_content",
    "broker_transport_options",
    "control_exchange",
    "result_accept_content",
    "result_backend_transport_options",
    "result_serializer",
    "task_serializer",
)
"""What of an app's settings says how its workers are reached, and how they answer."""

COUNTS = ("failed", "succeeded")
ENOUGH = 5
"""Tasks that a canary has to end before it is compared, where the others end as many meanwhile."""
LONGER = 2
"""So many times its `settle` more it is waited for that."""

PLACES = ("global_keyprefix", "fanout_prefix", "fanout_patterns", "sep", "priority_steps", "master_name")
"""What of a transport's options says where messages are."""


def of(app: Any) -> dict[str, Any]:
    """A control.json: an app's SETTINGS, of its transports' options those alone that say where things are."""
    told = {name: app.conf.get(name) for name in SETTINGS}
    told["control_serializer"] = app.control.mailbox.serializer
    for name in ("broker_transport_options", "result_backend_transport_options"):
        options = told[name] or {}
        told[name] = {option: options[option] for option in PLACES if option in options}
    return told


class Fleet:
    """The workers of an app, as a producer of its reaches them."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._mailbox = app.control.mailbox

    def ask(self, command: str, timeout: float, nodes: Iterable[str] | None = None) -> dict[str, Any]:
        """node → answer, of those that answer before nobody has for `timeout` seconds. nodes: whom to ask."""
        destination = list(nodes) if nodes is not None else None
        answers = self._app.control.broadcast(command, reply=True, timeout=timeout, destination=destination) or []
        found: dict[str, Any] = {}
        for answer in answers:
            found |= {node: said for node, said in answer.items() if not (isinstance(said, dict) and "error" in said)}
        return found

    def consumed(self, expected: int, patience: float) -> dict[str, list[str]]:
        """node → queues that it consumes. Asks until `expected` have answered, for at most `patience` seconds; who answers is not
        known before, so none is cut off."""
        found: dict[str, list[str]] = {}
        deadline = time.monotonic() + patience
        while len(found) < expected and (left := deadline - time.monotonic()) > 0:
            answers = self.ask("active_queues", min(1.0, left))
            found |= {node: sorted(queue["name"] for queue in queues) for node, queues in answers.items()}
        return found

    def states(self, nodes: Iterable[str], patience: float) -> dict[str, dict[str, Any]]:
        """node → what its fleet_state says, of those that answer within `patience` seconds."""
        missing, found = set(nodes), dict[str, dict[str, Any]]()
        deadline = time.monotonic() + patience
        while missing and (left := deadline - time.monotonic()) > 0:
            answers = self.ask("fleet_state", min(2.0, left), missing)
            found |= answers
            missing -= set(answers)
        return found

    def probe(self, queue: str, patience: float) -> bool:
        """Whether a task put at the head of a queue comes back: behind a long queue it would wait for hours."""
        token = uuid.uuid4().hex
        aside = f"fleet.probe.{token}"
        result = self._app.send_task("fleet.probe", [token], queue=_own(aside), expires=300)
        with self._app.connection_for_write() as connection:
            channel = connection.default_channel
            message = channel.client.rpop(aside)
            if message is not None:
                channel.client.rpush(queue, message)
            _forget(aside, channel)
        try:
            return bool(result.get(timeout=patience)["token"] == token)
        except Exception:  # no answer in time, an answer that is none, no backend: all the same here
            return False
        finally:
            result.forget()

    def own_probe(self, node: str, patience: float) -> bool:
        """Whether one worker runs a task that nobody else can take: from a queue of its own, for a moment."""
        token = uuid.uuid4().hex
        queue = f"fleet.probe.{token}"
        self._app.control.add_consumer(queue, destination=[node], reply=True, timeout=patience)
        try:
            result = self._app.send_task("fleet.probe", [token], queue=_own(queue), expires=300)
            try:
                return bool(result.get(timeout=patience)["token"] == token)
            except Exception:
                return False
            finally:
                result.forget()
        finally:
            self._app.control.cancel_consumer(queue, destination=[node], reply=True, timeout=patience)
            with self._app.connection_for_write() as connection:
                _forget(queue, connection.default_channel)

    def judge(
        self, asked: Mapping[str, Any], settle: float, patience: float, earlier: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """{"problems": {node: why it is not well}, "notes": […]}, after at least `settle` seconds. earlier: what workers of the
        same names said before the step."""
        started = time.monotonic()
        nodes: dict[str, list[str]] = asked["nodes"]
        problems: dict[str, str] = {}
        notes: list[str] = []
        others = self._others(asked) if asked["canary"] else {}
        states = self._until_they_consume(nodes, patience)
        away = {node for node in nodes if states.get(node, {}).get("away")}
        notes += [f"{node} takes nothing until its device is back: {states[node]['away']}" for node in sorted(away)]
        for node, queues in nodes.items():
            if node in away:
                continue
            if node not in states:
                problems[node] = f"does not answer a ping in {patience:g} s"
            elif missing := sorted(set(queues) - set(states[node]["queues"])):
                problems[node] = f"does not consume {', '.join(missing)}"
        for node in nodes.keys() - problems.keys() - away:
            # One whose slots are all taken by the app's tasks shows by these that it works.
            if not self.own_probe(node, patience) and not self._accepts(node, states, patience):
                problems[node] = f"a probe task sent to it did not come back in {patience:g} s"
        if not problems:
            for queue in sorted({queue for node, queues in nodes.items() if node not in away for queue in queues}):
                if not self.probe(queue, patience):
                    notes.append(f"a probe task at the head of {queue} did not come back in {patience:g} s: all are busy")
        time.sleep(max(0.0, started + settle - time.monotonic()))
        if not problems:
            problems |= self._unwell(asked, others, earlier, settle, patience)
        return {"problems": problems, "notes": notes}

    def _until_they_consume(self, nodes: Mapping[str, list[str]], patience: float) -> dict[str, dict[str, Any]]:
        deadline = time.monotonic() + patience
        while True:
            left = deadline - time.monotonic()
            states = self.states(nodes, max(0.1, left))
            if left <= 0 or all(node in states and _is_as_asked(states[node], queues) for node, queues in nodes.items()):
                return states
            time.sleep(0.5)

    def _accepts(self, node: str, before: Mapping[str, Mapping[str, Any]], patience: float) -> bool:
        now = self.states([node], patience).get(node, {})
        return bool(now.get("running")) or now.get("accepted", 0) > before[node]["accepted"]

    def _others(self, asked: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """node → state, of the role's workers that do not take part in the step: nor do second ones that it started."""
        of_role = re.compile(rf"{re.escape(asked['role'])}-worker-\d+@.*")
        away = {*asked["nodes"], *asked["going"]}
        return {
            node: state for node, state in self.ask("fleet_state", 2.0).items() if of_role.fullmatch(node) and node not in away
        }

    def _unwell(
        self,
        asked: Mapping[str, Any],
        before: Mapping[str, Mapping[str, Any]],
        earlier: Mapping[str, Mapping[str, Any]],
        settle: float,
        patience: float,
    ) -> dict[str, str]:
        """Canaries that fail more than others: than those did meanwhile; where they did nothing meanwhile, than since they began;
        where there are none that did anything, than the canaries' predecessors."""
        if not asked["canary"]:
            return {}
        deadline = time.monotonic() + LONGER * settle
        while True:
            canaries = self.states(asked["nodes"], patience)
            now = self._others(asked)
            since = [{name: state[name] - before[node][name] for name in COUNTS} for node, state in now.items() if node in before]
            # Where others end many tasks and a canary hardly any, it has not shown yet how it does.
            shown = min((_ended(state) for state in canaries.values()), default=0) >= ENOUGH
            if shown or sum(map(_ended, since)) < ENOUGH or time.monotonic() > deadline:
                break
            time.sleep(1)
        predecessors = [earlier[node] for node in asked["nodes"] if node in earlier]
        choices = (since, [*now.values()], predecessors)
        others = next((one for one in choices if any(map(_ended, one))), [])
        return {node: why for node, state in canaries.items() if (why := fails_more(state, others))}

    def close(self) -> None:
        """Leave nothing in Redis: a reply queue of somebody gone stays for ever (celery#6089)."""
        with self._app.connection_for_write() as connection:
            self._mailbox(connection).reply_queue(connection.default_channel).delete()
        self._app.close()


def _ended(state: Mapping[str, int]) -> int:
    return sum(state[name] for name in COUNTS)


def _is_as_asked(state: Mapping[str, Any], queues: Iterable[str]) -> bool:
    return bool(state.get("away")) or set(queues) <= set(state["queues"])


def _own(queue: str) -> Any:
    """A queue that the app does not declare, as a worker makes one that it is told to consume."""
    from kombu import Exchange, Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

    return Queue(queue, Exchange(queue), routing_key=queue)  # type: ignore[no-untyped-call]


def _forget(queue: str, channel: Any) -> None:
    """Delete a queue, and its binding: kombu knows of those alone that this process has declared."""
    own = _own(queue)(channel)
    own.declare()
    own.delete()


def reach(control: str | None, app_name: str) -> Fleet:
    """The workers that are reached as a control.json says; without one, as Celery's own defaults say.

    The app itself is imported where it has a serializer of its own, which nobody else can read.
    """
    from celery import Celery
    from celery.app.utils import find_app
    from kombu.serialization import registry

    try:
        told = json.loads(Path(control).read_text()) if control else {}
    except (OSError, ValueError):
        told = {}
    own = {told.get("task_serializer"), told.get("result_serializer")} - {None, *registry.name_to_type}
    app = find_app(app_name) if own else Celery("fleet", set_as_current=False)
    app.conf.update({name: value for name, value in told.items() if name in SETTINGS})
    app.conf.update(broker_url=os.environ["CELERY_BROKER_URL"], result_backend=os.environ["CELERY_RESULT_BACKEND"])
    return Fleet(app)


def main() -> int:
    told = json.loads(sys.stdin.readline())
    os.environ.update(told["environment"])

    def answer(said: Mapping[str, Any]) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    sys.stdout, answers = sys.stderr, sys.stdout  # what somebody's app prints is no answer
    with closing(reach(told["control"], told["app"])) as fleet:
        consumed = fleet.consumed(told["expected"], told["look"])
        earlier = fleet.states([node for node in consumed if node in told["going"]], told["look"])
        answer({"consumed": consumed})
    for line in sys.stdin:
        answer(_judged(json.loads(line), told, earlier))
    return 0


def _judged(asked: Mapping[str, Any], told: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Once more where the connection breaks: a broker that restarts is no fault of the workers'."""
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    for attempt in (1, 2):
        try:
            with closing(reach(asked["control"], told["app"])) as fleet:
                return fleet.judge(asked, told["settle"], told["patience"], earlier)
        except (OperationalError, RedisError, OSError):
            if attempt == 2:
                raise
            time.sleep(2)
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main())
