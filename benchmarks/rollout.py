"""How long a rollout takes: its plan, for many hosts that do not exist, and the rollout itself, on a lab that is up and deployed.

    .venv/bin/python benchmarks/rollout.py >benchmarks/results/rollout-$(date +%F).md
    .venv/bin/python benchmarks/rollout.py --lab inventory/lab.py --group-data tests/online/rolling

Steps: a canary and another step, natively (real Redis, real workers, no systemd, no SSH), with tasks of 30 s that run when each
begins, and with the default `settle` and `canary_settle`; against the lower bound, the time of the drain and the start.
Plan: `restart.py --dry` of 100 hosts in 20 batches, in turns with the same run if no worker is up, so that there is no step.
Lab: `restart.py` under the drill's load, against its lower bound: the sum over the steps of the slowest host's drain and start.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import machine, ratios, spread, table
from fleet.spec.worker import Worker
from fleet_node.step.step import Step
from tests.unit.process_support import machine as native_machine

ROOT = Path(__file__).parents[1]
BIN = str(Path(sys.executable).parent)
ROUNDS = 5
HOSTS, BATCH = 100, 5
LONG = 30
"""Seconds that a task takes."""
SETTLE = {canary: Worker.model_fields["canary_settle" if canary else "settle"].default for canary in (True, False)}
FAKE = """
_worker = {{"fake_responses": {{"MemTotal": {probe!r}}}, "fake_delay": 0, "fake_delay_jitter": 0, "secrets_file": {secrets!r}}}
broker = [("@fake/broker1", {{"lan_address": "10.0.0.10", **_worker}})]
batch = [(f"@fake/batch{{n}}", _worker) for n in range({hosts})]
"""
UP = "unit\tId\tcelery-batch@1.service\nunit\tLoadState\tloaded\nunit\tActiveState\tactive\nunit\tRelease\tabc\nunit-end\n"
TOOK = re.compile(r"\[(\S+)\]\s+took: .*?drained and started ([\d.]+) s")


def main() -> None:
    """Time it and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", help="The inventory of a lab with the fleet on it; without, the plan alone is timed.")
    parser.add_argument("--group-data")
    parser.add_argument("--rounds", type=int, default=3, help="Rollouts on the lab.")
    options = parser.parse_args()
    say(f"# Rolling restarts, {date.today()}\n\n## The plan: {HOSTS} hosts in {HOSTS // BATCH} batches\n\n{plan()}")
    say(f"## Two steps, natively, while tasks of {LONG} s run\n\n{native()}")
    if options.lab:
        say(f"## On the lab\n\n{lab(options.lab, options.group_data, options.rounds)}")
    say("".join(f"- {key}: {value}\n" for key, value in {**machine(), "command": " ".join(["python", *sys.argv])}.items()))


def say(text: str) -> None:
    """Print a part of the report."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def plan() -> str:
    """A table of the plan's time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([f"{BIN}/fleet", "secrets", str(folder / "secrets.env")], check=True, stdout=subprocess.DEVNULL)
        (folder / "group_data").mkdir()
        worker = f'{{"queues": ["batch"], "max_unavailable": {BATCH}, "canary": False}}'
        (folder / "group_data" / "batch.py").write_text(f"batch_worker = {worker}\n")
        for kind, units in (("up", UP), ("down", "")):
            probe = f"memory\t4194304\ncores\t4\npython\t3.11\nos\tdebian 12\n{units}end"
            text = FAKE.format(probe=probe, secrets=str(folder / "secrets.env"), hosts=HOSTS)
            (folder / f"{kind}.py").write_text(text)
        steps = run(folder / "up.py")[1].count("Step ")
        up, down = [], []
        for _ in range(ROUNDS):
            up.append(run(folder / "up.py")[0])
            down.append(run(folder / "down.py")[0])
    head = ["steps in --dry's output", "all up, s", "none up (no step), s", "ratio"]
    return table(head, [[str(steps), spread(up), spread(down), spread(ratios(up, down), 2)]])


def run(inventory: Path) -> tuple[float, str]:
    """(seconds, output) of a dry restart."""
    command = [f"{BIN}/pyinfra", str(inventory), "restart.py", "--dry"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"})
    return time.perf_counter() - started, done.stdout + done.stderr


def native() -> str:
    """A table of steps without machines."""
    rows = []
    with tempfile.TemporaryDirectory() as name, native_machine(Path(name)) as here, here.client() as client:
        here.drain_seconds = 2 * LONG
        old, new = here.release("old"), here.release("new")
        for release, revision, measured in ((old, "v1", False), (new, "v2", True)):
            for number in (1, 2):
                request = here.request(release, [number] if measured else [1, 2], revision, canary=number == 1)
                request["gates"]["web"]["ask"]["settle"] = SETTLE[number == 1] if measured else 0
                if measured:
                    for task in range(8):
                        client.send_task("fleet.drill", ["bench", 100 * number + task, "long", LONG], queue="default")
                    time.sleep(1)  # they run now
                started = time.monotonic()
                with redirect_stdout(sys.stderr):
                    result = Step(request, here, here.root, here.root / "var").run()
                total = time.monotonic() - started
                if not result["ok"]:
                    raise RuntimeError(result["notes"])
                if not measured:
                    break
                seconds = result["seconds"]
                which = "canary" if number == 1 else "another"
                bound = seconds["restart"]
                watched = f"{seconds['look']:.1f}", f"{seconds['gate']:.1f}"
                rows.append([which, f"{total:.1f}", f"{bound:.1f}", *watched, f"{total / bound:.2f}"])
    return table(["step", "whole, s", "drain and start (the bound), s", "look, s", "watch, s", "ratio"], rows)


def lab(inventory: str, group_data: str | None, rounds: int) -> str:
    """A table of rollouts on a lab."""
    more = ["--group-data", group_data] if group_data else []
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(rounds):
            log = Path(name) / "log"
            command = [f"{BIN}/fleet", "drill", "rollout", inventory, *more, "--phases", "restart", "--log", str(log), "--json"]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            account = json.loads(done.stdout)
            bound = lower_bound(log.read_text())
            total = account["phases"][0]["seconds"]
            rows.append([f"{total:.0f}", f"{bound:.0f}", f"{total / bound:.2f}", str(account["sent"]), str(account["lost"])])
    return table(["restart.py, s", "lower bound, s", "ratio", "tasks sent", "lost"], rows)


def lower_bound(log: str) -> float:
    """The sum over the steps of the seconds in which the slowest host drained and started."""
    total = 0.0
    for step in log.split("Starting operation: Step ")[1:]:
        total += max((float(seconds) for _, seconds in TOOK.findall(step)), default=0.0)
    return total


if __name__ == "__main__":
    main()
