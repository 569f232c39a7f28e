"""`python -m tests.unit.fleet.cli.top_picture docs/images/top.svg`: the picture of `fleet top`, of workers that run here."""

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
    "all": 'celery_app, app_source, secrets_file = "shop.app", "app", "s.env"\n',
    "web": 'web_worker = {"queues": ["default", "mail"], "concurrency": 8, "instances": 1, "min_consumers": 1}\n',
    "batch": 'batch_worker = {"queues": ["reports"], "concurrency": 4, "instances": 1, "min_consumers": 1}\n',
}
SECONDS = 50
RUN = {"who": "ann@desk", "pid": 7, "what": "deploy.py", "outcome": "done", "seconds": 41.5, "releases": {"3.11": "r2"}}


def main() -> None:
    """Draw it."""
    target = Path(sys.argv[1]).resolve()
    size = (int(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 3 else (120, 38)
    with tempfile.TemporaryDirectory() as folder, project(Path(folder), machines=MACHINES, group_data=GROUP_DATA) as made:
        for name, machine in made.machines.items():
            queues = ("reports",) if name.startswith("batch") else ("default", "mail")
            machine.concurrency = 4 if name.startswith("batch") else 8
            machine.start(machine.release("r2"), queues=queues)
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + SECONDS / 3))
        history = Path(folder) / "b" / "state" / "history.jsonl"
        history.write_text(str({**RUN, "at": began}).replace("'", '"') + "\n")
        os.chdir(made.folder)
        os.environ.pop("NO_COLOR", None)
        target.write_text(asyncio.run(_draw(made, size)))


async def _draw(made: Project, size: tuple[int, int]) -> str:
    watch = Watch(Path("prod.py"), 1.0)
    watch.file = Path("inventory/prod.py")
    watch.start()
    screen = TopApp(watch, {"default": 10, "reports": 60})
    try:
        async with screen.run_test(size=size) as pilot:
            with made.here.client() as client:
                for second in range(SECONDS):
                    for number in range(9 if second > 20 else 5):
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
