"""`python -m tests.unit.fleet.cli.top_picture docs/images/top.svg`: the picture of `fleet top`, of workers that run here.

It takes fifteen minutes: as long as the history that it shows."""

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

from fleet.cli.top.app import TopApp
from fleet.observe.watch import Watch
from tests.unit.fleet.cli.native_support import Project, project
from tests.unit.fleet_node.delivery.lease_support import send

MACHINES = {"web1": "web", "web2": "web", "batch1": "batch", "batch2": "batch"}
GROUP_DATA = {
    "all": 'celery_app, app_source, secrets_file = "shop.app", "app", "s.env"\nslo = {"default": 10, "reports": 60}\n',
    "web": 'web_worker = {"queues": ["default", "mail"], "concurrency": 8, "instances": 1, "min_consumers": 1}\n',
    "batch": 'batch_worker = {"queues": ["reports"], "concurrency": 4, "instances": 1, "min_consumers": 1}\n',
}
SIZE = (120, 38)
SECONDS = 900
BURSTS = ((250, 310), (SECONDS - 40, SECONDS))
"""Seconds in which more tasks are sent than the workers can do."""
RUN = {"who": "ops@desk", "pid": 7, "what": "deploy.py", "outcome": "done", "seconds": 41.5, "releases": {"3.11": "r2"}}


def main() -> None:
    """Draw it."""
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder, project(Path(folder), machines=MACHINES, group_data=GROUP_DATA) as made:
        for name, machine in made.machines.items():
            queues = ("reports",) if name.startswith("batch") else ("default", "mail")
            machine.concurrency = 4 if name.startswith("batch") else 8
            machine.start(machine.release("r2"), queues=queues)
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + SECONDS / 2))
        history = Path(folder) / "b" / "state" / "history.jsonl"
        history.write_text(str({**RUN, "at": began}).replace("'", '"') + "\n")
        os.chdir(made.folder)
        os.environ.pop("NO_COLOR", None)
        target.write_text(asyncio.run(_draw(made)))


async def _draw(made: Project) -> str:
    watch = Watch(Path("prod.py"), 1.0)
    watch.file = Path("inventory/prod.py")
    watch.start()
    screen = TopApp(watch, watch.fleet.settings.slo)
    try:
        async with screen.run_test(size=SIZE) as pilot:
            with made.here.client() as client:
                for second in range(SECONDS):
                    for number in range(9 if any(begin <= second < end for begin, end in BURSTS) else 4):
                        send(client, 1000 * second + number, 2.5, priority=(0, 0, 3)[number % 3])
                    if second % 4 == 0:
                        send(client, 1000 * second + 500, 0.1, queue="mail")
                        send(client, 1000 * second + 600, 11, queue="reports")
                    if second == SECONDS - 12:
                        for process in made.machines["web2"].running.values():
                            process.send_signal(signal.SIGSTOP)
                    await pilot.pause(1.0)
            picture = screen.export_screenshot(title="fleet top inventory/prod.py")
    finally:
        watch.close()
    return clean(picture)


def clean(picture: str) -> str:
    """Without fonts of the network, and with the reader's own."""
    picture = re.sub(r"<!-- .*? -->\s*", "", picture)
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    return picture.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, DejaVu Sans Mono")


if __name__ == "__main__":
    main()
