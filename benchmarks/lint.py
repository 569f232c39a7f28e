"""How long `fleet lint` takes, offline: whole processes, in turns with `fleet --help`, the cost of Python and its imports.

    .venv/bin/python benchmarks/lint.py >benchmarks/results/lint-$(date +%F).md

The example's roles on 10, 100 and 1,000 hosts that are assumed to be alike, and on 1,000 hosts that all differ (each has settings
of its own, so none is sized together with another). The app is loaded in its venv, which exists already.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import machine, ratios, spread, table

ROOT = Path(__file__).parents[1]
ROUNDS = 7
FLEET = str(ROOT / ".venv" / "bin" / "fleet")
INVENTORY = """
broker = [("broker1", {{"lan_address": "10.0.0.10"}})]
web, batch, gpu = (
    [(f"{{role}}{{n}}", {{"machine_reserve": f"{{100 + n}}M"}} if {apart} else {{}}) for n in range({hosts} // 3)]
    for role in ("web", "batch", "gpu")
)
"""


def main() -> None:
    """Time every case and print the report."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "group_data").mkdir()
        for file in (ROOT / "group_data").glob("*.py"):
            text = file.read_text().replace('"examples/shop"', repr(str(ROOT / "examples" / "shop")))
            (folder / "group_data" / file.name).write_text(text)
        for hosts, apart in ((10, False), (100, False), (1000, False), (1000, True)):
            (folder / "prod.py").write_text(INVENTORY.format(hosts=hosts, apart=apart))
            linting = [FLEET, "lint", "prod.py", "--assume", "cores=8,memory=16G,gpus=1"]
            seconds(linting, folder)  # the venv, and byte code
            lint, floor = [], []
            for _ in range(ROUNDS):
                lint.append(seconds(linting, folder))
                floor.append(seconds([FLEET, "--help"], folder))
            what = f"{hosts}, all told apart" if apart else str(hosts)
            rows.append([what, spread(lint), spread(floor), spread(ratios(lint, floor), 1)])
    head = ["hosts", "fleet lint, s", "fleet --help, s", "ratio"]
    print(f"# Linting a fleet offline, {date.today()}\n\nMedian (min\N{EN DASH}max) of {ROUNDS} rounds.\n\n{table(head, rows)}")  # noqa: T201
    about = {**machine(), "command": "python benchmarks/lint.py"}
    print("".join(f"- {key}: {value}\n" for key, value in about.items()), end="")  # noqa: T201


def seconds(command: list[str], folder: Path) -> float:
    """Wall time of a process. Raises RuntimeError if the command could not do its work. A finding (exit 1) is work done."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
