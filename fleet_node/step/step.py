"""One step of a rollout on one machine: guard → (surge) → new files → restart, which drains → gate.

If a gate fails, the old files and the old release come back. Standard library alone.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fleet_node.protocol import DRAIN_FILE, ENDED_FILE, STATE_FOLDER, StepRequest, StepResult, UnitResult
from fleet_node.step import capacity, files, surge
from fleet_node.step.errors import StepError
from fleet_node.step.gates import Gates
from fleet_node.step.output import say
from fleet_node.step.snapshot import Snapshot
from fleet_node.step.systemd import Supervisor, runtime

KILLED = "timeout killed KILL"
"""SERVICE_RESULT, EXIT_CODE and EXIT_STATUS of a worker that systemd ended when its time to stop was over."""


class Step:
    """A step. It ends what it has begun, even if the connection is lost."""

    def __init__(
        self, request: StepRequest, supervisor: Supervisor, root: Path = Path("/"), folder: Path = Path(STATE_FOLDER)
    ) -> None:
        self._request, self._supervisor, self._root = request, supervisor, root
        self._units = request["units"]
        self._gates = Gates(request, root)
        self._snapshot = Snapshot(folder, root)
        self._second_units: list[str] = []
        untouched: dict[str, UnitResult] = {unit: {"state": "untouched"} for unit in self._units}
        self.result: StepResult = {"ok": False, "put_back": False, "units": untouched, "notes": [], "seconds": {}}

    def run(self) -> StepResult:
        """Do it. Returns the result; the step is never left half done."""
        started = saved = False
        try:
            todo = self._remaining()
            if not todo:
                self._supervisor.enable(self._units)
                if not self._snapshot.exists():  # else it is of this step, and putting back still needs it
                    self._snapshot.save([], ())
                self.result["ok"] = True
                return self.result
            self._gates.open(self._units[unit]["role"] for unit in todo)
            # A step that was cut off has left its snapshot: the files that are here now are the unverified ones.
            if not (self._snapshot.exists() and set(todo) <= set(self._snapshot.unverified())):
                self._snapshot.save(list(self._units), (*self._request["envs"], *self._request["files"]))
                saved = True
            with self._timed("look"):
                consumed = self._gates.consumed()
            self._guard(todo, consumed)
            started = True
            self._change(todo)
            self._snapshot.mark_verified()
            self.result["ok"] = True
        except (StepError, OSError, subprocess.SubprocessError, ValueError) as error:
            self._note(str(error))
            if started:
                self._undo()
            elif saved:
                self._snapshot.discard()  # nothing was changed, so there is nothing to verify
        finally:
            self._gates.close()
            if self._second_units and (not started or self.result["put_back"]):
                surge.end(self._supervisor, self._root, self._second_units)
            elif self._second_units and not self.result["ok"]:
                self._note(
                    "left running, since nothing else serves their queues: "
                    f"{' '.join(self._second_units)}; the next deploy ends them"
                )
        return self.result

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.result["seconds"][phase] = round(time.monotonic() - started, 1)

    def _remaining(self) -> list[str]:
        """Units that do not run their revision, or that are not verified: a step goes on by itself if its run was cut off."""
        if self._request["restart"]:
            return list(self._units)
        unverified = self._snapshot.unverified()
        done = [
            unit
            for unit, request in self._units.items()
            if unit not in unverified and self._supervisor.revision(unit) == request["revision"]
        ]
        for unit in done:
            self.result["units"][unit]["state"] = "new"
        return [unit for unit in self._units if unit not in done]

    def _guard(self, todo: list[str], consumed: Mapping[str, list[str]]) -> None:
        """Double the workers that a queue cannot spare, or raise StepError: before anything goes down."""
        up = {unit: self._units[unit]["queues"] for unit in todo if self._supervisor.process(unit)}
        served = {queue for queues in up.values() for queue in queues}
        minimum = {queue: number for queue, number in self._request["min_consumers"].items() if queue in served}
        missing = capacity.underserved(consumed, self._request["stopping"], minimum)
        units = capacity.to_double(missing, up)
        if not units:
            return
        described = ", ".join(f"{queue} ({number} of {minimum[queue]})" for queue, number in sorted(missing.items()))
        if still := capacity.still_underserved(missing, minimum, (up[unit] for unit in units)):
            raise StepError(
                f"nothing went down: {described} would have too few consumers, and second ones would make "
                f"{', '.join(f'{number} for {queue}' for queue, number in sorted(still.items()))}: other workers are away"
            )
        need = sum(self._units[unit]["need"] for unit in units)
        if (free := surge.available()) < need:
            raise StepError(
                f"nothing went down: {described} would have too few consumers, and there is no memory to start others first "
                f"({need >> 20} MB needed, {free >> 20} MB free): add one elsewhere, or lower min_consumers"
            )
        say(f"{described} would have too few consumers: starting a second {' '.join(units)} first")
        self._start_second(units)

    def _start_second(self, units: list[str]) -> None:
        """Start a second instance of each of `units`, of the new release. Raises StepError if one is not well."""
        files.write(self._request["archive"], self._request["envs"], self._root)
        for unit in units:
            second = self._units[unit]["surge"]
            surge.write(second["unit"], second["text"], self._root)
            self._second_units.append(second["unit"])
            self.result["units"][unit]["surged"] = True
        self._supervisor.reload()
        try:
            with self._timed("surge"):
                if not self._supervisor.bring("start", self._second_units):
                    raise StepError(self._why_not(self._second_units))
                # It is compared with all workers that are up, also with the one whose place it takes.
                self._pass_gate({unit: self._units[unit]["surge"]["node"] for unit in units}, stopping=())
        except StepError:
            self._snapshot.restore()  # the old environment; the running workers have theirs still
            raise

    def _change(self, todo: list[str]) -> None:
        """Write the new files, restart `todo`, and verify it. Raises StepError."""
        folders = {unit: runtime(self._root, unit) for unit in todo}
        for folder in folders.values():
            for name in (DRAIN_FILE, ENDED_FILE):
                (folder / name).unlink(missing_ok=True)
        for unit in todo:
            self.result["units"][unit]["state"] = "failed"
        files.write(self._request["archive"], [*self._request["envs"], *self._request["files"]], self._root)
        self._supervisor.reload()
        self._supervisor.enable(todo)
        meanwhile = ", with others in their place" if self._second_units else ""
        say(f"restarting {' '.join(todo)}{meanwhile}")
        with self._timed("restart"):
            came_up = self._supervisor.bring("restart", todo)
        for unit, folder in folders.items():
            self._report_drain(unit, folder)
        if not came_up:
            raise StepError(self._why_not(todo))
        processes = {unit: self._supervisor.process(unit) for unit in todo}
        with self._timed("gate"):
            self._pass_gate({unit: self._units[unit]["node"] for unit in todo}, stopping=self._request["stopping"])
        restarted = [unit for unit, process in processes.items() if self._supervisor.process(unit) != process]
        for unit in restarted:
            self.result["units"][unit]["why"] = "ended and was started again while it was watched"
        if restarted:
            raise StepError(self._why_not(restarted, running=True))
        for unit in todo:
            self.result["units"][unit]["state"] = "new"

    def _pass_gate(self, nodes: Mapping[str, str], stopping: Iterable[str]) -> None:
        """Raises StepError if a worker is not well. nodes: unit → its node. stopping: see Gates.verify()."""
        verified = self._gates.verify(nodes, stopping)
        self.result["notes"] += verified.notes
        for unit, why in verified.problems.items():
            self.result["units"][unit]["why"] = why
        if verified.problems:
            raise StepError("\n".join(f"{unit} {why}" for unit, why in verified.problems.items()))

    def _report_drain(self, unit: str, folder: Path) -> None:
        result = self.result["units"][unit]
        try:
            result["drain"] = json.loads((folder / DRAIN_FILE).read_text())
        except (OSError, ValueError):
            result["drain"] = None
        try:
            ended = (folder / ENDED_FILE).read_text().splitlines()
        except OSError:
            ended = []
        if KILLED in ended:
            result["killed"] = True
            self._note(f"{unit} WAS KILLED by systemd: it had not ended when its time to stop was over. See its journal")

    def _undo(self) -> None:
        """Bring back the old files and the old release. A second instance stays until then."""
        units = [unit for unit, result in self.result["units"].items() if result["state"] == "failed"]
        if not units:
            return
        try:
            self.result["put_back"] = self._snapshot.put_back(self._supervisor, units)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            self._note(f"could not put back: {error}")
        for unit in units:
            self.result["units"][unit]["state"] = "put back" if self.result["put_back"] else "down"
        outcome = "put back as it was" if self.result["put_back"] else "what was there does not start"
        self._note(f"{outcome}: {' '.join(units)}")

    def _why_not(self, units: Iterable[str], running: bool = False) -> str:
        lines = []
        for unit in units:
            if running or not self._supervisor.process(unit):
                lines += [f"{unit} did not come up; the end of its journal:", *self._supervisor.journal(unit)]
        return "\n".join(lines) or "systemctl failed"

    def _note(self, line: str) -> None:
        self.result["notes"].append(line)
        say(line)
