"""Which devices are away, by what the kernel and nvidia-smi say; and a real worker whose device goes and comes back."""

import json
from pathlib import Path

import pytest

from fleet_node import gpu_watch
from fleet_node.gpu_watch import Device, Health
from fleet_node.worker import device as gpu

A, B = Device(0, "GPU-aa", "03:00"), Device(1, "GPU-bb", "04:00")
LISTED = "0, GPU-aa, 00000000:03:00.0\n1, GPU-bb, 00000000:04:00.0\n"
FELL = "[  812.1] NVRM: Xid (PCI:0000:04:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."


def test_what_nvidia_smi_lists() -> None:
    assert gpu_watch.parse(LISTED + "Unable to determine the device handle for GPU0000:05:00.0: Unknown Error\n") == [A, B]


def test_a_device_that_is_not_listed_is_away_until_it_is() -> None:
    health = Health()
    health.listed([A, B])
    assert health.away("") == {}
    health.listed([A])
    why = "nvidia-smi does not list it any more"
    assert health.away("") == {"GPU-bb": why, "1": why}
    health.listed([A, B])
    assert health.away("") == {}


def test_one_that_moved_up_keeps_its_number() -> None:
    health = Health()
    health.listed([A, B])
    health.listed([Device(0, "GPU-bb", "04:00")])
    assert set(health.away("")) == {"GPU-aa", "0"}


def test_where_nvidia_smi_fails_all_are_away_and_its_words_are_told() -> None:
    health = Health()
    health.listed([A, B])
    health.listed([])
    assert health.away("Failed to initialize NVML")["1"] == "nvidia-smi says: Failed to initialize NVML"
    assert set(health.away("…")) == {"GPU-aa", "0", "GPU-bb", "1"}


def test_an_xid_takes_a_device_away_until_it_was_reset() -> None:
    health = Health()
    health.listed([A, B])
    assert health.said(FELL)
    health.listed([A, B])  # still listed: that proves nothing
    assert health.away("") == {"GPU-bb": "Xid 79: it has fallen off the bus", "1": "Xid 79: it has fallen off the bus"}
    health.listed([A])
    assert health.away("")["1"] == "Xid 79: it has fallen off the bus; nvidia-smi does not list it any more"
    health.listed([A, B])
    assert health.away("") == {}


def test_an_xid_that_a_task_is_to_blame_for_takes_nothing_away() -> None:
    health = Health()
    health.listed([A, B])
    assert not health.said(FELL.replace(": 79,", ": 31,"))
    assert not health.said("usb 1-1: new device")
    assert health.away("") == {}


def test_the_state_is_replaced_whole_and_for_everybody_to_read(tmp_path: Path) -> None:
    health = Health()
    health.listed([A])
    gpu_watch.write(health, {"0": "why"}, tmp_path)
    gpu_watch.write(health, {}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    told = json.loads((tmp_path / "state.json").read_text())
    assert (told["away"], told["known"]) == ({}, ["0", "GPU-aa"])
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o644


def test_a_watch_that_is_started_again_knows_what_it_knew(tmp_path: Path) -> None:
    health = Health()
    health.listed([A, B])
    health.said(FELL)
    gpu_watch.write(health, health.away(""), tmp_path)
    again = gpu_watch.read(tmp_path)
    again.listed([A, B])
    assert set(again.away("")) == {"GPU-bb", "1"}
    again.listed([A])
    again.listed([A, B])
    assert again.away("") == {}
    assert gpu_watch.read(tmp_path / "nothing") == Health()


def test_a_device_that_nobody_has_seen_since_the_machine_started_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health()
    monkeypatch.setenv("FLEET_GPU_STATE", str(tmp_path / "state.json"))
    for device, why in (("GPU-aa", ""), ("GPU-bb", "nvidia-smi does not list it"), ("0", "")):
        monkeypatch.setenv("FLEET_GPU", device)
        gpu_watch.write(Health(), {}, tmp_path)
        assert gpu.away() == ""  # nobody has looked yet
        health.listed([A])
        gpu_watch.write(health, {}, tmp_path)
        assert gpu.away() == why
