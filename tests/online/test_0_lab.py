"""The lab itself, with real machines: a small lab beside labs that run already. `make test` boots another for its other tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "lab", *words]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository of its own, so that no lab of the user's is touched."""
    place = tmp_path_factory.mktemp("labs")
    (place / "pyproject.toml").touch()
    yield place
    for lab in (place / ".lab").iterdir():
        fleet_lab(place, "down", "--name", lab.name)


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k != "FLEET_LAB"} | {"PYTHONPATH": str(REPOSITORY)}


def fleet_lab(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=place, env=environment(), capture_output=True, text=True, timeout=900, check=False)


def qemus(directory: Path) -> list[int]:
    """PIDs of the QEMUs that have a file of `directory` among their arguments."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"qemu-system" in words[0] and any(w.startswith(os.fsencode(directory) + b"/") for w in words):
                pids.append(int(entry.name))
    return pids


def interrupted_up(place: Path, name: str, number: signal.Signals, *, when: str) -> int:
    """Start `up`, send it `number` as soon as its output contains `when`; its exit status."""
    words = command("up", "--name", name, "--hosts", "web1")
    with subprocess.Popen(words, cwd=place, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if when in line:
                break
        process.send_signal(number)
        process.stderr.read()
        return process.wait(timeout=60)


@pytest.fixture(scope="module")
def small(place: Path) -> Path:
    """A lab "small" of one machine that is up."""
    done = fleet_lab(place, "up", "--name", "small", "--hosts", "web1=512", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hosts"]["web1"]["memory_mb"] == 512
    assert "web1: up" in done.stderr
    return place / ".lab" / "small"


def test_status_shows_the_machine_up(place: Path, small: Path) -> None:
    done = fleet_lab(place, "status", "--name", "small", "--json")
    assert done.returncode == 0
    (host,) = json.loads(done.stdout)["hosts"]
    assert host["state"] == "up"
    assert [host["pid"]] == qemus(small)


def test_ssh_reaches_a_whole_machine(place: Path, small: Path) -> None:
    script = "hostname; hostname -I; systemctl is-system-running; sudo id -u; cat /sys/fs/cgroup/cgroup.controllers"
    done = fleet_lab(place, "ssh", "--name", "small", "web1", "--", script)
    assert done.returncode == 0, done.stderr
    name, addresses, system, user, controllers = done.stdout.splitlines()
    assert (name, system, user) == ("web1", "running", "0")
    assert "10.77.0.11" in addresses.split()
    assert {"cpu", "memory", "pids"} <= set(controllers.split())


def test_the_exit_status_of_a_command_comes_through(place: Path, small: Path) -> None:
    assert fleet_lab(place, "ssh", "--name", "small", "web1", "exit 7").returncode == 7


def test_up_on_a_running_lab_starts_nothing(place: Path, small: Path) -> None:
    before = qemus(small)
    assert fleet_lab(place, "up", "--name", "small").returncode == 0
    assert qemus(small) == before


def test_reset_gives_a_fresh_disk_and_the_right_time(place: Path, small: Path) -> None:
    assert fleet_lab(place, "ssh", "--name", "small", "web1", "sudo touch /root/dirty").returncode == 0
    done = fleet_lab(place, "reset", "--name", "small")
    assert done.returncode == 0, done.stderr
    done = fleet_lab(place, "ssh", "--name", "small", "web1", "sudo ls /root; date +%s")
    assert "dirty" not in done.stdout
    assert abs(int(done.stdout.split()[-1]) - time.time()) < 60


def test_a_machine_whose_process_died_comes_back_on_its_disk(place: Path, small: Path) -> None:
    assert fleet_lab(place, "ssh", "--name", "small", "web1", "sudo touch /root/file; sync").returncode == 0
    (pid,) = qemus(small)
    os.kill(pid, signal.SIGKILL)
    while qemus(small):
        time.sleep(0.1)
    assert fleet_lab(place, "status", "--name", "small").returncode == 1
    done = fleet_lab(place, "up", "--name", "small")
    assert done.returncode == 0, done.stderr
    assert "file" in fleet_lab(place, "ssh", "--name", "small", "web1", "sudo ls /root").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_no_process(place: Path, small: Path, number: signal.Signals) -> None:
    assert interrupted_up(place, "broken", number, when="started") == 130
    assert qemus(place / ".lab" / "broken") == []
    assert qemus(small) != []


def test_down_cleans_up_what_half_started(place: Path, small: Path) -> None:
    words = command("up", "--name", "half", "--hosts", "web1 web2")
    with subprocess.Popen(words, cwd=place, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        next(line for line in process.stderr if "started" in line)
        process.kill()
    half = place / ".lab" / "half"
    assert qemus(half) != []
    done = fleet_lab(place, "down", "--name", "half")
    assert done.returncode == 0, done.stderr
    assert qemus(half) == []
    assert not half.exists()
    assert qemus(small) != []


def test_a_machine_that_does_not_come_up_names_its_console(place: Path) -> None:
    done = fleet_lab(place, "up", "--name", "late", "--hosts", "web1", "--timeout", "3")
    assert done.returncode == 1
    assert "web1: not up after 3 s" in done.stderr
    assert str(place / ".lab" / "late" / "web1.console.log") in done.stderr
    assert "Traceback" not in done.stderr
    assert fleet_lab(place, "down", "--name", "late").returncode == 0
