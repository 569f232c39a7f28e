"""GPU machines with a stand-in for nvidia-smi (tests/online/gpu/nvidia-smi): the lab's machines have no device.

The tests cover the project's part: how many workers run, which devices each sees and may open, which settings are refused, and
what a worker does if its device dies. tests/gpu/run.sh tests CUDA itself.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.online.conftest import ROOT, Lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HERE = ROOT / "tests" / "online" / "gpu"
PATIENCE = 180
UNIT = "celery-gpu@{}.service"
INVENTORY = """
import runpy
globals().update(runpy.run_path({lab!r}))
for _name, _data in all:
    if _name.startswith("gpu"):
        del _data["nvidia"], _data["gpus"]
        _data.update({more!r})
"""


def write(lab: Lab, path: str, text: str) -> None:
    lab.ask("gpu1", f"echo {b64encode(text.encode()).decode()} | base64 -d >{path}")


def devices(lab: Lab, *numbers: int) -> None:
    """Have the stand-in list these devices, with no failure."""
    write(lab, "/etc/fleet-stand-in/devices", "".join(f"GPU-{number} 0{number}:00\n" for number in numbers))
    lab.ask("gpu1", "rm -f /etc/fleet-stand-in/broken")


@pytest.fixture(scope="module")
def stand_in(lab: Lab) -> Lab:
    """Install the stand-in for nvidia-smi, and nodes of devices that have no driver."""
    lab.ask("gpu1", "mkdir -p /etc/fleet-stand-in")
    write(lab, "/usr/local/bin/nvidia-smi", (HERE / "nvidia-smi").read_text())
    nodes = " ".join(f"mknod /dev/nvidia{number} c 195 {number};" for number in range(8))
    lab.ask("gpu1", f"chmod +x /usr/local/bin/nvidia-smi; {nodes} mknod /dev/nvidiactl c 195 255; true")
    return lab


def deploy(lab: Lab, tmp_path: Path, **more: object) -> tuple[int, str]:
    inventory = tmp_path / "lab.py"
    inventory.write_text(INVENTORY.format(lab=str(ROOT / "inventory" / "lab.py"), more=more))
    done = lab.deploy("--group-data", str(HERE / "group_data"), "--limit", "gpu1", inventory=str(inventory))
    return done.returncode, done.stdout


def show(lab: Lab, number: int, name: str) -> str:
    return lab.ask("gpu1", f"systemctl show --value --property={name} {UNIT.format(number)}")


def until(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(1)


def test_a_machine_without_a_device_is_refused_before_anything_changes(stand_in: Lab, tmp_path: Path) -> None:
    devices(stand_in)
    code, output = deploy(stand_in, tmp_path)
    assert code == 1, output
    assert "nvidia.driver: existing, and nvidia-smi says: No devices found." in output
    write(stand_in, "/etc/fleet-stand-in/broken", "Failed to initialize NVML: Driver/library version mismatch\n")
    code, output = deploy(stand_in, tmp_path)
    assert code == 1, output
    assert "nvidia-smi says: Failed to initialize NVML: Driver/library version mismatch" in output
    devices(stand_in, 1)
    code, output = deploy(stand_in, tmp_path, gpus=4)
    assert code == 1, output
    assert "gpus: 4, and the machine has 1 (0: STAND-IN)" in output
    assert "Beginning operation run" not in output


@pytest.mark.parametrize("number", [1, 4, 8])
def test_each_device_has_a_worker_that_sees_and_may_open_only_it(stand_in: Lab, tmp_path: Path, number: int) -> None:
    devices(stand_in, *range(1, number + 1))
    code, output = deploy(stand_in, tmp_path, gpus=number)
    assert code == 0, output
    units = stand_in.ask("gpu1", "systemctl list-units --plain --no-legend --state=active celery-*").splitlines()
    assert [line.split()[0] for line in units] == [UNIT.format(instance) for instance in range(1, number + 1)]
    for instance in (1, number):
        environment = show(stand_in, instance, "Environment").split()
        assert {"CUDA_DEVICE_ORDER=PCI_BUS_ID", f"CUDA_VISIBLE_DEVICES=GPU-{instance}"} <= set(environment)
        assert "-P prefork -c 1 " in show(stand_in, instance, "ExecStart")
        assert "--pool-start-method=spawn" in show(stand_in, instance, "ExecStart")
        # From within its cgroup: a device that it may open has no driver here (ENXIO); any other is refused (EPERM).
        group = f"/sys/fs/cgroup{show(stand_in, instance, 'ControlGroup')}/cgroup.procs"
        for device in range(8):
            answer = stand_in.ask("gpu1", f'sh -c "echo \\$\\$ >{group}; exec head -c 0 /dev/nvidia{device}" 2>&1 || true')
            assert ("No such device" in answer) == (device == instance - 1), answer
            assert ("Operation not permitted" in answer) == (device != instance - 1), answer
    assert "STAND-IN" not in stand_in.ask("gpu1", "journalctl --no-pager --output=cat --unit=fleet-gpu --priority=warning")


def test_a_device_that_dies_takes_out_its_worker_and_no_other(stand_in: Lab, tmp_path: Path) -> None:
    before = [show(stand_in, instance, "MainPID") for instance in range(1, 9)]
    stand_in.ask("gpu1", 'echo "<3>NVRM: Xid (PCI:0000:03:00): 79, GPU has fallen off the bus." >/dev/kmsg')
    devices(stand_in, 1, 2, 4, 5, 6, 7, 8)
    until(lambda: "its device is away (Xid 79: it has fallen off the bus" in show(stand_in, 3, "StatusText"), "not noticed")
    app = "from celery import Celery; app = Celery();"
    ask = f"{app} import json; print(json.dumps(app.control.inspect(timeout=20, limit=8).active_queues()))"

    def consuming() -> set[str]:
        done = stand_in.run("fleet", "connect", "inventory/lab.py", "--", "python", "-W", "ignore", "-c", ask)
        answers = json.loads(done.stdout.splitlines()[-1])
        return {node.partition("@")[0] for node, queues in answers.items() if any(queue["name"] == "ml" for queue in queues)}

    until(
        lambda: consuming() == {f"gpu-worker-{instance}" for instance in (1, 2, 4, 5, 6, 7, 8)}, "others stopped, or it did not"
    )
    assert stand_in.ask("gpu1", "systemctl is-active celery-gpu@3") == "active"
    # A deploy names the missing device, and does not resize the machine to the devices that are left.
    code, output = deploy(stand_in, tmp_path, gpus=8)
    assert code == 1, output
    assert "gpus: 8, and the machine has 7" in output
    devices(stand_in, *range(1, 9))
    until(lambda: show(stand_in, 3, "MainPID") not in ("0", before[2]), "it was not started again")
    until(lambda: "queues ml" in show(stand_in, 3, "StatusText"), "it does not consume again")
    after = [show(stand_in, instance, "MainPID") for instance in range(1, 9)]
    assert [index for index in range(8) if after[index] != before[index]] == [2]
    journal = stand_in.ask("gpu1", "journalctl --no-pager --output=cat --unit=fleet-gpu")
    assert "device 2 (GPU-3) is away: Xid 79: it has fallen off the bus" in journal
    assert "device 2 (GPU-3) is back" in journal


def test_a_driver_that_needs_a_restart_gets_it_if_that_is_allowed(stand_in: Lab, tmp_path: Path) -> None:
    """tree stands in for the driver's packages, and nvidia-smi does not work until the machine has booted anew."""
    devices(stand_in, 1)
    write(stand_in, "/run/until-the-next-boot", "Failed to initialize NVML: Driver/library version mismatch\n")
    stand_in.ask("gpu1", "ln -s /run/until-the-next-boot /etc/fleet-stand-in/broken")
    boot = stand_in.ask("gpu1", "cat /proc/sys/kernel/random/boot_id")
    nvidia = {"driver": "debian", "packages": ["tree"], "devices_by": "uuid", "reboot": "never"}
    code, output = deploy(stand_in, tmp_path, gpus=1, nvidia=nvidia)
    assert code == 1, output
    assert "the driver is installed, and does not work before a restart" in output
    assert 'restart the machine, or allow it: nvidia = {"reboot": "auto"}' in output
    assert stand_in.ask("gpu1", "cat /proc/sys/kernel/random/boot_id") == boot
    assert stand_in.ask("gpu1", "command -v tree") == "/usr/bin/tree"
    code, output = deploy(stand_in, tmp_path, gpus=1, nvidia=nvidia | {"reboot": "auto"})
    assert code == 0, output
    assert "restarting the machine" in output
    assert stand_in.ask("gpu1", "cat /proc/sys/kernel/random/boot_id") != boot
    assert "queues ml" in show(stand_in, 1, "StatusText")
    assert "blacklist nouveau" in stand_in.ask("gpu1", "cat /etc/modprobe.d/fleet-nvidia.conf")
