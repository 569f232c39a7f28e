"""A worker in a pod: what it tells probes, what it sets itself, and its drain without systemd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.kubernetes.pod import alive
from fleet_node.drain import gives_no_sign
from fleet_node.worker.sd_notify import CONSUMES, CONSUMES_NOT, leave
from tests.unit.fleet_node.delivery.lease_support import begun, send, until
from tests.unit.process_support import ROOT, Machine, machine

NODE = "web-worker-1@pod"


def test_the_same_as_files(tmp_path: Path) -> None:
    def there() -> set[str]:
        return {path.name for path in tmp_path.iterdir()}

    leave(tmp_path, ("STATUS=starts",))
    assert there() == set()
    leave(tmp_path, ("READY=1", "STATUS=0/4 busy"))
    leave(tmp_path, ("WATCHDOG=1", CONSUMES))
    assert there() == {"ready", "alive", "consumes"}
    leave(tmp_path, ("WATCHDOG=1", CONSUMES_NOT))
    assert there() == {"ready", "alive"}
    leave(tmp_path, (CONSUMES,))
    leave(tmp_path, ("STOPPING=1",))
    assert there() == {"ready", "alive"}
    leave(tmp_path, ("STATUS=stalled", "WATCHDOG=trigger"))
    assert there() == {"ready"}, "the kubelet restarts it at its next look"


def test_a_hook_knows_a_worker_that_stalls(tmp_path: Path) -> None:
    assert gives_no_sign(tmp_path, 20), "it is not ready, or its watchdog has taken the sign away"
    sign = tmp_path / "alive"
    sign.touch()
    assert not gives_no_sign(tmp_path, 20)
    os.utime(sign, (0, sign.stat().st_mtime - 30))
    assert gives_no_sign(tmp_path, 20)
    assert not gives_no_sign(tmp_path, 0), "no probe asks for signs"


def test_the_liveness_probe_is_about_the_last_sign(tmp_path: Path) -> None:
    sign = tmp_path / "alive"
    probe = ["sh", "-c", alive(300).replace("/run/fleet", str(tmp_path))]

    def is_alive() -> bool:
        return subprocess.run(probe, check=False).returncode == 0

    assert not is_alive()
    sign.touch()
    assert is_alive()
    os.utime(sign, (0, sign.stat().st_mtime - 310))
    assert not is_alive()
    os.utime(sign, (0, sign.stat().st_mtime + 20))
    assert is_alive()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as here:
        yield here


@pytest.mark.long
def test_a_worker_in_a_pod(here: Machine, tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    release = here.release("r")
    environment = here.environment | {
        "FLEET_POD": "1",
        "RUNTIME_DIRECTORY": str(runtime),
        "FLEET_STALL_TIMEOUT": "20",
        "PYTHONPATH": f"{release}:{ROOT}",
    }
    flags = ["-P", "prefork", "-c", "2", f"--hostname={NODE}", "--queues=default", "--without-gossip", "--without-mingle"]
    command = [sys.executable, "-m", "celery", "-A", "jobs", "worker", *flags, "-I", "fleet_node.worker"]
    with (tmp_path / "log").open("w") as log, here.client() as client:
        worker = subprocess.Popen(command, env=environment, cwd=release, stdout=log, stderr=log)
        try:
            assert until(lambda: {"ready", "alive", "consumes"} <= {path.name for path in runtime.iterdir()}, 60)
            status = Path(f"/proc/{worker.pid}/status").read_text()
            assert "Umask:\t0077" in status
            assert "Max core file size        0                    0 " in Path(f"/proc/{worker.pid}/limits").read_text()
            before = (runtime / "alive").stat().st_mtime
            assert until(lambda: (runtime / "alive").stat().st_mtime > before, 20)

            # What a preStop hook runs, which has no MAINPID.
            hook = [sys.executable, "-m", "fleet_node.drain", NODE, "30"]
            stalled = environment | {"RUNTIME_DIRECTORY": str(tmp_path / "stalled")}
            done = subprocess.run(hook, env=stalled, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, done.stdout) == (0, "gives no sign of life: SIGTERM at once\n"), done.stderr
            assert (runtime / "consumes").exists(), "it was not asked"
            send(client, 1, 3)
            assert until(lambda: 1 in begun(here), 20)
            done = subprocess.run(hook, env=environment, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0 and "drained in " in done.stdout, done.stdout + done.stderr
            assert not (runtime / "consumes").exists(), "no more work is meant for it"
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
        finally:
            worker.kill()
            worker.wait()
