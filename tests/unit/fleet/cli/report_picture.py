"""`python -m tests.unit.fleet.cli.report_picture docs/images/report.png`: the picture of `fleet report`, from a recording of
workers that run here. It takes ten minutes."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.unit.browser_support import browser
from tests.unit.fleet.cli.native_support import FLEET, Project, project
from tests.unit.fleet.cli.top_picture import GROUP_DATA, MACHINES, RUN
from tests.unit.fleet_node.delivery.lease_support import send

SECONDS = 600
BURST = range(250, 310)
"""Seconds in which more tasks are sent than the workers can do."""
SILENT = range(420, 480)
"""Seconds in which a worker is stopped."""
SIZE = {"x": 0, "y": 0, "width": 1060, "height": 1010, "scale": 1}


def main() -> None:
    """Draw it."""
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name, project(Path(name), machines=MACHINES, group_data=GROUP_DATA) as made:
        folder = Path(name)
        for host, machine in made.machines.items():
            queues = ("reports",) if host.startswith("batch") else ("default", "mail")
            machine.concurrency = 4 if host.startswith("batch") else 8
            machine.start(machine.release("r2"), queues=queues)
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + SECONDS / 4))
        (folder / "b" / "state" / "history.jsonl").write_text(json.dumps({**RUN, "at": began}) + "\n")
        command = [FLEET, "record", "prod.py", "--interval", "2", "--for", str(SECONDS)]
        with subprocess.Popen(command, cwd=made.folder, env=made.environment) as recorder:
            _work(made)
            recorder.wait()
        done = made.fleet("report", "prod.py", "--from", "recording.jsonl")
        assert done.returncode == 0, done.stderr
        _draw(made.folder / "report.html", target, folder)


def _work(made: Project) -> None:
    (worker,) = made.machines["web2"].running.values()
    begin = time.monotonic()
    with made.here.client() as client:
        for second in range(SECONDS):
            for number in range(12 if second in BURST else 4 + second % 3):
                send(client, 1000 * second + number, 2, priority=(0, 0, 3)[number % 3])
            if second % 4 == 0:
                send(client, 1000 * second + 500, 0.1, queue="mail")
                send(client, 1000 * second + 600, 12, queue="reports")
            if second == SILENT.start:
                worker.send_signal(signal.SIGSTOP)
            if second == SILENT.stop:
                worker.send_signal(signal.SIGCONT)
            time.sleep(max(0.0, begin + second + 1 - time.monotonic()))


def _draw(page: Path, target: Path, folder: Path) -> None:
    with browser(folder) as chromium:
        chromium.resize(SIZE["width"], SIZE["height"])
        chromium.open(page.as_uri())
        chromium.screenshot(target, clip=SIZE)


if __name__ == "__main__":
    main()
