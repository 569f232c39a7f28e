"""Which devices are unavailable, by the kernel's log and by nvidia-smi."""

import json
from pathlib import Path

import pytest

from fleet_node import gpu_watch
from fleet_node.gpu_watch import Device, Health
from fleet_node.worker import device

A, B = Device(0, "GPU-aa", "03:00"), Device(1, "GPU-bb", "04:00")
LISTED = "0, GPU-aa, 00000000:03:00.0\n1, GPU-bb, 00000000:04:00.0\n"
FELL = "[  812.1] NVRM: Xid (PCI:0000:04:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."


def test_what_nvidia_smi_lists() -> None:
    assert gpu_watch.parse(LISTED + "Unable to determine the device handle for GPU0000:05:00.0: Unknown Error\n") == [A, B]


def test_a_device_that_is_not_listed_is_unavailable_until_it_is() -> None:
    health = Health()
    health.listed([A, B])
    assert health.unavailable("") == {}
    health.listed([A])
    why = "nvidia-smi does not list it any more"
    assert health.unavailable("") == {"GPU-bb": why, "1": why}
    health.listed([A, B])
    assert health.unavailable("") == {}


def test_one_that_moved_up_keeps_its_number() -> None:
    health = Health()
    health.listed([A, B])
    health.listed([Device(0, "GPU-bb", "04:00")])
    assert set(health.unavailable("")) == {"GPU-aa", "0"}


def test_if_nvidia_smi_fails_all_are_unavailable_for_its_reason() -> None:
    health = Health()
    health.listed([A, B])
    health.listed([])
    assert health.unavailable("Failed to initialize NVML")["1"] == "nvidia-smi says: Failed to initialize NVML"
    assert set(health.unavailable("…")) == {"GPU-aa", "0", "GPU-bb", "1"}


def test_an_xid_makes_a_device_unavailable_until_it_was_reset() -> None:
    health = Health()
    health.listed([A, B])
    assert health.logged(FELL)
    health.listed([A, B])  # still listed: that proves nothing
    assert health.unavailable("") == {"GPU-bb": "Xid 79: it has fallen off the bus", "1": "Xid 79: it has fallen off the bus"}
    health.listed([A])
    assert health.unavailable("")["1"] == "Xid 79: it has fallen off the bus; nvidia-smi does not list it any more"
    health.listed([A, B])
    assert health.unavailable("") == {}


def test_an_xid_that_a_task_is_to_blame_for_makes_nothing_unavailable() -> None:
    health = Health()
    health.listed([A, B])
    assert not health.logged(FELL.replace(": 79,", ": 31,"))
    assert not health.logged("usb 1-1: new device")
    assert health.unavailable("") == {}


def test_the_state_is_replaced_whole_and_for_everybody_to_read(tmp_path: Path) -> None:
    health = Health()
    health.listed([A])
    gpu_watch.write(health, {"0": "why"}, tmp_path)
    gpu_watch.write(health, {}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    state = json.loads((tmp_path / "state.json").read_text())
    assert (state["unavailable"], state["known"]) == ({}, ["0", "GPU-aa"])
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o644


def test_a_watch_that_is_started_again_knows_what_it_knew(tmp_path: Path) -> None:
    health = Health()
    health.listed([A, B])
    health.logged(FELL)
    gpu_watch.write(health, health.unavailable(""), tmp_path)
    again = gpu_watch.read(tmp_path)
    again.listed([A, B])
    assert set(again.unavailable("")) == {"GPU-bb", "1"}
    again.listed([A])
    again.listed([A, B])
    assert again.unavailable("") == {}
    assert gpu_watch.read(tmp_path / "nothing") == Health()


def test_a_device_that_was_never_listed_since_the_machine_started_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = Health()
    monkeypatch.setenv("FLEET_GPU_STATE", str(tmp_path / "state.json"))
    for name, why in (("GPU-aa", ""), ("GPU-bb", "nvidia-smi does not list it"), ("0", "")):
        monkeypatch.setenv("FLEET_GPU", name)
        gpu_watch.write(Health(), {}, tmp_path)
        assert device.unavailable() == ""  # nobody has looked yet
        health.listed([A])
        gpu_watch.write(health, {}, tmp_path)
        assert device.unavailable() == why


def test_a_watch_and_a_worker_of_different_versions_understand_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During an upgrade: a watch that knows only "away" runs beside a new worker, or a new watch beside an old worker."""
    monkeypatch.setenv("FLEET_GPU_STATE", str(tmp_path / "state.json"))
    monkeypatch.setenv("FLEET_GPU", "GPU-aa")
    (tmp_path / "state.json").write_text('{"away": {"GPU-aa": "Xid 79"}, "known": ["GPU-aa"]}')
    assert device.unavailable() == "Xid 79"
    gpu_watch.write(Health(), {"GPU-aa": "Xid 79"}, tmp_path)
    assert json.loads((tmp_path / "state.json").read_text())["away"] == {"GPU-aa": "Xid 79"}
