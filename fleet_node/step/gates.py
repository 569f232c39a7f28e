"""The gates of a step, one process a role. Standard library alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet_node.protocol import CONTROL_FILE, GateQuestion, StepRequest
from fleet_node.step.gate_process import GateProcess
from fleet_node.step.systemd import runtime

GATE_START = 90
"""Seconds until a gate has to say what is up."""


@dataclass
class Verified:
    """What the gates say of workers. problems: unit → why its worker is not well; none if all are."""

    problems: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Gates:
    """The gates of the roles that a step touches, from open() to close()."""

    def __init__(self, request: StepRequest, root: Path) -> None:
        self._request, self._root = request, root
        self._processes: dict[str, GateProcess] = {}

    def open(self, roles: Iterable[str]) -> None:
        """Start a process for each role."""
        for role in sorted(set(roles)):
            self._processes[role] = GateProcess(self._request["gates"][role], self._control(role), self._request["stopping"])

    def close(self) -> None:
        """End the processes."""
        for process in self._processes.values():
            process.close()

    def consumed(self) -> dict[str, list[str]]:
        """Node → queues that it consumes, of all workers that are up. Raises GateError."""
        consumed: dict[str, list[str]] = {}
        for process in self._processes.values():
            consumed |= process.consumed(GATE_START)
        return consumed

    def verify(self, nodes: Mapping[str, str], stopping: Iterable[str]) -> Verified:
        """Whether workers are well. nodes: unit → its node. stopping: nodes that a canary is not compared with.

        Raises GateError.
        """
        verified = Verified()
        for role, process in self._processes.items():
            of_role = {unit: node for unit, node in nodes.items() if self._request["units"][unit]["role"] == role}
            if not of_role:
                continue
            question: GateQuestion = {
                "nodes": {node: self._request["units"][unit]["queues"] for unit, node in of_role.items()},
                "role": role,
                "canary": self._request["canary"],
                "stopping": list(stopping),
                "control": str(runtime(self._root, next(iter(of_role))) / CONTROL_FILE),
            }
            settings = self._request["gates"][role]["ask"]
            queues = {queue for names in question["nodes"].values() for queue in names}
            longest = settings["settle"] + settings["patience"] * (4 + 4 * len(of_role) + len(queues))
            verdict = process.judge(question, longest + settings["first_task"] * len(of_role))
            verified.notes += verdict["notes"]
            verified.problems |= {
                unit: verdict["problems"][node] for unit, node in of_role.items() if node in verdict["problems"]
            }
        return verified

    def _control(self, role: str) -> str | None:
        """The ControlFile of a worker of the role, if one has run here."""
        units = [unit for unit, request in self._request["units"].items() if request["role"] == role]
        paths = [runtime(self._root, unit) / CONTROL_FILE for unit in units]
        return next((str(path) for path in paths if path.exists()), None)
