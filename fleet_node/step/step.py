"""One step of a rollout on one machine: `python3 -m fleet_node.step`, as root, with the standard library alone.

On stdin a JSON object:
    {"archive": base64 of a gzipped tar, "envs": paths in it that come first, "files": all its other paths, "timeout": seconds,
     "units": {unit: {"role", "node", "queues", "revision", "need": bytes, "surge": {"unit", "node", "text"}}},
     "gates": {role: {"command", "user", "folder", "base", "ask": what fleet_node.gate reads first, "environment"}},
     "going": all nodes that go down in this step anywhere, "keep": {queue: consumers it keeps}, "canary": bool, "restart": bool}
Here: guard → (surge) → new files → restart, which drains → gate; and where a gate fails, the old files and the old release again.

It ends what it has begun, whatever becomes of the connection. How it went is the last line on stdout, after `fleet-step: `:
    {"ok": bool, "put_back": bool, "units": {unit: {"state", "why", "drain", "killed", "surged"}}, "notes": […],
     "seconds": {"look", "surge", "restart", "gate"}}
A second instance that came first goes on until the step is judged, since it may be needed to put back: `--keep` lets go of it and
of the old files, `--put-back` undoes the step first.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet_node.step import capacity, surge
from fleet_node.step.gate_process import GateError, GateProcess
from fleet_node.step.snapshot import Snapshot
from fleet_node.step.systemd import Supervisor, Systemd, runtime

MARK = "fleet-step: "
FOLDER = Path("/var/lib/fleet")
KILLED = "timeout killed KILL"
"""SERVICE_RESULT, EXIT_CODE and EXIT_STATUS of a worker that systemd ended when its time to stop was over."""
GATE_START = 90
"""Seconds until the gate has to say what is up."""


class StepError(Exception):
    """The step cannot go on. str() says why."""


class Step:
    """A step, as it goes."""

    def __init__(self, told: Mapping[str, Any], supervisor: Supervisor, root: Path = Path("/"), folder: Path = FOLDER) -> None:
        self._told, self._supervisor, self._root = told, supervisor, root
        self._units: dict[str, dict[str, Any]] = told["units"]
        self._gates: dict[str, GateProcess] = {}
        self._before = Snapshot(folder, root)
        self._surged: list[str] = []
        self.result: dict[str, Any] = {
            "ok": False,
            "put_back": False,
            "units": {unit: {"state": "untouched"} for unit in self._units},
            "notes": [],
            "seconds": {},
        }

    def run(self) -> dict[str, Any]:
        """Do it. Returns the result; it is never left half done."""
        started = remembered = False
        try:
            todo = self._still_to_do()
            if not todo:
                self._supervisor.enable(self._units)
                if not self._before.exists():  # else it is that step's, and still what putting back needs
                    self._before.remember([], ())
                    self._before.judged()
                self.result["ok"] = True
                return self.result
            for role in sorted({self._units[unit]["role"] for unit in todo}):
                self._gates[role] = GateProcess(self._told["gates"][role], self._control(role), self._told["going"])
            # Of a step that was cut off, what was there before it is kept already; here is what nobody has judged.
            if not set(todo) <= set(self._before.unjudged()):
                self._before.remember(list(self._units), (*self._told["envs"], *self._told["files"]))
                remembered = True
            with self._timed("look"):
                consumed = self._consumed()
            self._guard(todo, consumed)
            started = True
            self._change(todo)
            self._before.judged()
            self.result["ok"] = True
        except (StepError, GateError, OSError, subprocess.SubprocessError, ValueError) as error:
            self._note(str(error))
            if started:
                self._undo()
            elif remembered:
                self._before.forget()  # nothing was changed that anybody would have to judge
        finally:
            for gate in self._gates.values():
                gate.close()
            if self._surged and (not started or self.result["put_back"]):
                surge.end(self._supervisor, self._root, self._surged)
            elif self._surged and not self.result["ok"]:
                self._note(
                    f"left running, since nothing else serves their queues: {' '.join(self._surged)}; the next deploy ends them"
                )
        return self.result

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.result["seconds"][phase] = round(time.monotonic() - started, 1)

    def _still_to_do(self) -> list[str]:
        """A step of an interrupted run may have gone on here by itself, and be done; not so where it never came to be judged."""
        if self._told["restart"]:
            return list(self._units)
        unknown = self._before.unjudged()
        done = [
            unit
            for unit, one in self._units.items()
            if unit not in unknown and self._supervisor.revision(unit) == one["revision"]
        ]
        for unit in done:
            self.result["units"][unit]["state"] = "new"
        return [unit for unit in self._units if unit not in done]

    def _consumed(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for gate in self._gates.values():
            found |= gate.consumed(GATE_START)
        return found

    def _guard(self, todo: list[str], consumed: Mapping[str, list[str]]) -> None:
        """Double what a queue cannot spare, or raise StepError: before anything goes down."""
        up = {unit: self._units[unit]["queues"] for unit in todo if self._supervisor.process(unit)}
        keep = {queue: number for queue, number in self._told["keep"].items() if any(queue in queues for queues in up.values())}
        short = capacity.short(consumed, self._told["going"], keep)
        units = capacity.surging(short, up)
        if not units:
            return
        bare = ", ".join(f"{queue} ({number} of {keep[queue]})" for queue, number in sorted(short.items()))
        if left := capacity.lacking(short, keep, (up[unit] for unit in units)):
            raise StepError(
                f"nothing went down: {bare} would have too few consumers, and second ones would make "
                f"{', '.join(f'{number} for {queue}' for queue, number in sorted(left.items()))}: other workers are away"
            )
        need = sum(self._units[unit]["need"] for unit in units)
        if (free := surge.available()) < need:
            raise StepError(
                f"nothing went down: {bare} would have too few consumers, and there is no memory to start others first "
                f"({need >> 20} MB needed, {free >> 20} MB free): add one elsewhere, or lower min_consumers"
            )
        say(f"{bare} would have too few consumers: starting a second {' '.join(units)} first")
        self._write(self._told["envs"])
        for unit in units:
            second = self._units[unit]["surge"]
            surge.write(second["unit"], second["text"], self._root)
            self._surged.append(second["unit"])
            self.result["units"][unit]["surged"] = True
        self._supervisor.reload()
        try:
            with self._timed("surge"):
                if not self._supervisor.bring("start", self._surged):
                    raise StepError(self._why_not(self._surged))
                # It is of the new release too, and judged by those that are still up: also by the one whose place it takes.
                nodes = {unit: self._units[unit]["surge"]["node"] for unit in units}
                self._pass_gate(nodes, canary=self._told["canary"], going=())
        except (StepError, GateError):
            self._before.restore()  # the environment that was there; what runs has its own still
            raise

    def _change(self, todo: list[str]) -> None:
        ended = {unit: self._runtime(unit) for unit in todo}
        for folder in ended.values():
            for name in ("drain.json", "ended"):
                (folder / name).unlink(missing_ok=True)
        for unit in todo:
            self.result["units"][unit]["state"] = "failed"
        self._write([*self._told["envs"], *self._told["files"]])
        self._supervisor.reload()
        self._supervisor.enable(todo)
        say(f"restarting {' '.join(todo)}" if not self._surged else f"restarting {' '.join(todo)}, with others in their place")
        with self._timed("restart"):
            came_up = self._supervisor.bring("restart", todo)
        for unit, folder in ended.items():
            self._report_drain(unit, folder)
        if not came_up:
            raise StepError(self._why_not(todo))
        before = {unit: self._supervisor.process(unit) for unit in todo}
        with self._timed("gate"):
            nodes = {unit: self._units[unit]["node"] for unit in todo}
            self._pass_gate(nodes, canary=self._told["canary"], going=self._told["going"])
        for unit, pid in before.items():
            if self._supervisor.process(unit) != pid:
                self.result["units"][unit]["why"] = "ended and was started again while it was watched"
        if any("why" in one for one in self.result["units"].values()):
            raise StepError(self._why_not([unit for unit in todo if "why" in self.result["units"][unit]], running=True))
        for unit in todo:
            self.result["units"][unit]["state"] = "new"

    def _pass_gate(self, nodes: Mapping[str, str], canary: bool, going: Iterable[str]) -> None:
        """Raises StepError where a worker is not well. going: nodes that are none to compare a canary with."""
        for role, gate in self._gates.items():
            mine = {unit: node for unit, node in nodes.items() if self._units[unit]["role"] == role}
            if not mine:
                continue
            asked: dict[str, Any] = {
                "nodes": {node: self._units[unit]["queues"] for unit, node in mine.items()},
                "role": role,
                "canary": canary,
                "going": list(going),
                "control": str(self._runtime(next(iter(mine))) / "control.json"),
            }
            ask = self._told["gates"][role]["ask"]
            queues = {queue for names in asked["nodes"].values() for queue in names}
            said = gate.judge(asked, ask["settle"] + ask["patience"] * (4 + 4 * len(mine) + len(queues)))
            self.result["notes"] += said["notes"]
            for unit, node in mine.items():
                if node in said["problems"]:
                    self.result["units"][unit]["why"] = said["problems"][node]
        bad = [f"{unit} {one['why']}" for unit, one in self.result["units"].items() if "why" in one]
        if bad:
            raise StepError("\n".join(bad))

    def _report_drain(self, unit: str, folder: Path) -> None:
        one = self.result["units"][unit]
        try:
            one["drain"] = json.loads((folder / "drain.json").read_text())
        except (OSError, ValueError):
            one["drain"] = None
        try:
            result = (folder / "ended").read_text().splitlines()
        except OSError:
            result = []
        if KILLED in result:
            one["killed"] = True
            self._note(f"{unit} WAS KILLED by systemd: it had not ended when its time to stop was over. See its journal")

    def _undo(self) -> None:
        """The old files and the old release again. What came from a second one first stays until then."""
        units = [unit for unit, one in self.result["units"].items() if one["state"] == "failed"]
        if not units:
            return
        try:
            self.result["put_back"] = self._before.put_back(self._supervisor, units)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            self._note(f"could not put back: {error}")
        for unit in units:
            self.result["units"][unit]["state"] = "put back" if self.result["put_back"] else "down"
        said = "put back as it was" if self.result["put_back"] else "what was there does not start"
        self._note(f"{said}: {' '.join(units)}")

    def _write(self, paths: Iterable[str]) -> None:
        members = [path.lstrip("/") for path in paths]
        if not members:
            return
        # -m: with the old times systemd would not notice that a unit file changed.
        command = ["tar", "-xzpmf", "-", "-C", str(self._root), "--keep-directory-symlink", *members]
        done = subprocess.run(command, input=b64decode(self._told["archive"]), capture_output=True, check=False)
        if done.returncode:
            raise StepError(f"could not write the files: {done.stderr.decode(errors='replace').strip()}")
        for member in members:  # a unit that is empty after a power loss would start nothing
            with (self._root / member).open("rb") as file:
                os.fsync(file.fileno())

    def _runtime(self, unit: str) -> Path:
        return runtime(self._root, unit)

    def _control(self, role: str) -> str | None:
        """What a worker of the role left of how it is reached, if one has run."""
        left = [self._runtime(unit) / "control.json" for unit, one in self._units.items() if one["role"] == role]
        return next((str(path) for path in left if path.exists()), None)

    def _why_not(self, units: Iterable[str], running: bool = False) -> str:
        lines = []
        for unit in units:
            if running or not self._supervisor.process(unit):
                lines += [f"{unit} did not come up; the end of its journal:", *self._supervisor.journal(unit)]
        return "\n".join(lines) or "systemctl failed"

    def _note(self, line: str) -> None:
        self.result["notes"].append(line)
        say(line)


@contextmanager
def alone(folder: Path = FOLDER, patience: float = 600) -> Iterator[None]:
    """Wait for a step of an earlier run that is still at work here. Raises StepError when that takes too long."""
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    with (folder / "step.lock").open("w") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StepError(f"a step of an earlier run is still at work on this machine, after {patience:g} s") from None
                time.sleep(1)
        yield


def say(line: str) -> None:
    """To whoever still listens."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        pass  # a lost connection ends nothing


def main() -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost connection ends nothing
    supervisor, before = Systemd(), Snapshot(FOLDER)
    try:
        if sys.argv[1:] == ["--keep"]:
            with alone():
                before.forget()
                surge.end(supervisor)
                return 0
        if sys.argv[1:] == ["--put-back"]:
            with alone():
                back = before.put_back(supervisor)
                if back:
                    surge.end(supervisor)
                return 0 if back else 1
        told = json.loads(sys.stdin.read())
        with alone(patience=told["timeout"]):
            step = Step(told, supervisor)
            result = step.run()
            say(MARK + json.dumps(result))
    except StepError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
