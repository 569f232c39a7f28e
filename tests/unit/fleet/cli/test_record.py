"""`fleet record`, on a fleet whose machines are an sshd on loopback."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.observe.report import recording
from fleet.observe.report.timeline import Failure
from tests.unit.fleet.cli.native_support import FLEET, Project, allow, project
from tests.unit.fleet_node.delivery.lease_support import begun, send, until
from tests.unit.process_support import ROOT
from tests.unit.shop_support import answering, process, redis_server

pytestmark = pytest.mark.long
FAILS = "@app.task(name='bad')\ndef bad(): 1 / 0"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Project]:
    (tmp_path / "here").mkdir()
    with project(tmp_path) as made:
        made.here.start(made.here.release("r", FAILS), queues=("default", "quiet"))
        yield made


def start(made: Project, *words: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(made.folder / "kept")}
    command = [FLEET, "record", "prod.py", "--interval", "1", *words]
    return subprocess.Popen(command, cwd=made.folder, env=environment, stderr=subprocess.PIPE, text=True)


def samples(file: Path) -> list[dict[str, Any]]:
    """The samples of a recording, whose lines are whole."""
    if not file.exists():
        return []
    return [
        entry for line in file.read_text().splitlines(keepends=True) if line[-1] == "\n" and "t" in (entry := json.loads(line))
    ]


def last(file: Path) -> Any:
    """The last line of a recording."""
    return json.loads(file.read_text().splitlines()[-1])


def test_a_recording_of_a_fleet_whose_worker_and_broker_go(started: Project) -> None:
    file, here = started.folder / "recording.jsonl", started.here
    node = f"web-worker-1@{here.hostname}"
    recorder = start(started)
    assert until(lambda: samples(file))
    with here.client() as client:
        for number in range(8):
            send(client, number, 1)
        client.send_task("bad", queue="quiet")
        assert until(lambda: len(begun(here)) >= 8)
        assert until(lambda: any(entry["q"]["default"][9] for entry in samples(file) if "q" in entry))
        assert until(lambda: any(entry.get("f") for entry in samples(file)))
    assert until(lambda: any(entry.get("m") is not None for entry in samples(file))), "the machine was asked, too"
    here.stop(["celery-web@1.service"])
    assert until(lambda: samples(file)[-1].get("w") == {node: None})
    recorder.send_signal(signal.SIGTERM)
    _, said = recorder.communicate(timeout=30)
    assert recorder.returncode == 0, said
    assert "1 of 1 workers alive" in said
    assert "Traceback" not in said

    # A killed run leaves half a line; the next one goes on behind it.
    with file.open("a") as torn:
        torn.write('{"t":17')
    before = len(file.read_text().splitlines())
    with here.redis() as redis:
        redis.shutdown(nosave=True)
    recorder = start(started)
    assert until(lambda: len(file.read_text().splitlines()) > before + 1)
    assert "away" in last(file)
    with process(redis_server(here.port, here.root), here.root / "redis2.log"):
        answering(here.port)
        with here.redis() as redis:
            allow(redis)
        assert until(lambda: "q" in last(file)), "it goes on when the broker is back"
        recorder.send_signal(signal.SIGINT)
        _, said = recorder.communicate(timeout=30)
        assert recorder.returncode == 0, said

    timeline = recording.read(file, 1)
    assert set(timeline.queues) == {"default", "quiet"}
    assert max(value or 0 for value in timeline.queues["default"].begun) > 0
    assert max(value or 0 for value in timeline.roles["web"].busy) == 4
    assert timeline.failures == (Failure("bad", "ZeroDivisionError", 1),)
    assert max(value or 0 for value in timeline.queues["quiet"].failed) > 0
    texts = [mark.text for mark in timeline.marks]
    assert f"{node} gave no sign of life" in texts
    assert any(text.startswith("the broker was away: ") for text in texts)


def test_recordings_that_are_refused(started: Project) -> None:
    other = recording.Header("other", 10, 60).line() + "\n"
    (started.folder / "other.jsonl").write_text(other)
    (started.folder / "no.jsonl").write_text("no recording\n")
    (started.folder / "later.jsonl").write_text('{"fleet-recording":9}\n')
    for name, why in {
        "other.jsonl": "a recording of another fleet (other); this one is b 127.0.0.1:",
        "no.jsonl": "no recording of fleet record",
        "later.jsonl": "a recording of version 9; this celery-fleet reads version 1",
        "no/such": "No such file or directory",
        "app": "Is a directory",
        "/dev/full": "No space left on device",
    }.items():
        done = started.fleet("record", "prod.py", "-o", name)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"{name}: {why}")
        assert done.stderr.count("\n") == 1
    assert (started.folder / "other.jsonl").read_text() == other
    recorder = start(started)
    assert until(lambda: samples(started.folder / "recording.jsonl"))
    done = started.fleet("record", "prod.py")
    assert (done.returncode, done.stderr) == (2, "recording.jsonl: another fleet record writes to it\n")
    recorder.send_signal(signal.SIGINT)
    recorder.communicate(timeout=30)
