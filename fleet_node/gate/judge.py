"""Whether workers that came up are well: asked through the broker, and for canaries compared with their peers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fleet_node.gate import canary
from fleet_node.gate.canary import Counts
from fleet_node.protocol import GateQuestion, GateSettings, GateVerdict, WorkerState

if TYPE_CHECKING:
    from fleet_node.gate.inspector import WorkerInspector

IDLE: Counts = {"succeeded": 0, "failed": 0}


def judge(
    workers: WorkerInspector,
    question: GateQuestion,
    settings: GateSettings,
    predecessors: Mapping[str, WorkerState],
) -> GateVerdict:
    """The answer to a question, after at least `settle` seconds. predecessors: node → its state before the step, of the workers
    that went down."""
    started = time.monotonic()
    settle, patience, first = settings["settle"], settings["patience"], settings["first_task"]
    nodes = question["nodes"]
    problems: dict[str, str] = {}
    peers_before = _peers(workers, question) if question["canary"] else {}
    states = _until_they_consume(workers, nodes, patience)
    unavailable = {node: state["unavailable"] for node, state in states.items() if state.get("unavailable")}
    notes = [f"{node} takes nothing until its device is back: {why}" for node, why in sorted(unavailable.items())]
    for node, queues in nodes.items():
        if node in unavailable:
            continue
        if node not in states:
            problems[node] = f"does not answer a ping in {patience:g} s"
        elif missing := sorted(set(queues) - set(states[node]["queues"])):
            problems[node] = f"does not consume {', '.join(missing)}"
    for node in nodes.keys() - problems.keys() - unavailable.keys():
        # A worker whose slots are all taken shows by the app's tasks that it works.
        if not workers.own_probe(node, patience, first) and not _accepts(workers, node, states[node], patience):
            problems[node] = f"a probe task sent to it did not come back in {first:g} s"
    if not problems:
        for queue in sorted({queue for node, queues in nodes.items() if node not in unavailable for queue in queues}):
            if not workers.probe(queue, patience):
                notes.append(f"a probe task at the head of {queue} did not come back in {patience:g} s: all are busy")
    time.sleep(max(0.0, started + settle - time.monotonic()))
    if not problems and question["canary"]:
        problems |= _worse_than_peers(workers, question, peers_before, predecessors, settle, patience)
    return {"problems": problems, "notes": notes}


def _until_they_consume(workers: WorkerInspector, nodes: Mapping[str, list[str]], patience: float) -> dict[str, WorkerState]:
    deadline = time.monotonic() + patience
    while True:
        left = deadline - time.monotonic()
        states = workers.states(nodes, max(0.1, left))
        if left <= 0 or all(node in states and _is_as_asked(states[node], queues) for node, queues in nodes.items()):
            return states
        time.sleep(0.5)


def _is_as_asked(state: WorkerState, queues: Iterable[str]) -> bool:
    return bool(state.get("unavailable")) or set(queues) <= set(state["queues"])


def _accepts(workers: WorkerInspector, node: str, before: WorkerState, patience: float) -> bool:
    now = workers.states([node], patience).get(node)
    return now is not None and bool(now["running"] or now["accepted"] > before["accepted"])


def _peers(workers: WorkerInspector, question: GateQuestion) -> dict[str, WorkerState]:
    """Node → state, of the role's workers that do not take part in the step: nor do second instances that it started."""
    of_role = re.compile(rf"{re.escape(question['role'])}-worker-\d+@.*")
    excluded = {*question["nodes"], *question["stopping"]}
    return {node: state for node, state in workers.all_states().items() if of_role.fullmatch(node) and node not in excluded}


def _worse_than_peers(
    workers: WorkerInspector,
    question: GateQuestion,
    peers_before: Mapping[str, WorkerState],
    predecessors: Mapping[str, WorkerState],
    settle: float,
    patience: float,
) -> dict[str, str]:
    """Node → why it is worse, of the canaries in question."""
    replaced = [predecessors[node] for node in question["nodes"] if node in predecessors]
    deadline = time.monotonic() + canary.MAX_EXTENSION * settle
    while True:
        states = workers.states(question["nodes"], patience)
        peers = _peers(workers, question)
        verdicts = {node: canary.verdict(states.get(node, IDLE), peers_before, peers, replaced) for node in question["nodes"]}
        if all(verdict.enough for verdict in verdicts.values()) or time.monotonic() > deadline:
            return {node: verdict.problem for node, verdict in verdicts.items() if verdict.problem}
        time.sleep(1)
