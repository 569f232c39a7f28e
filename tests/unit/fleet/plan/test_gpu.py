"""A machine's report of its NVIDIA devices, the device that a worker sees, and the CUDA that a driver runs."""

import subprocess

import pytest

from fleet.plan import gpu
from fleet.plan.facts import MachineFacts
from fleet.plan.gpu import Device, GpuReport
from fleet.spec.nvidia import Nvidia
from roles.gpu import visible

TWO = ["GPU 0: NVIDIA A30 (UUID: GPU-aa)", "GPU 1: NVIDIA A30 (UUID: GPU-bb)"]
DIVIDED = [
    "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aa)",
    "  MIG 3g.40gb     Device  0: (UUID: MIG-c1)",
    "  MIG 3g.40gb     Device  1: (UUID: MIG-c2)",
    "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bb)",
]


def parsed(*lines: str) -> GpuReport:
    return gpu.parse(line.split("\t") for line in lines)


def test_devices_are_as_the_driver_lists_them() -> None:
    lines = ["pci\t0000:03:00.0\tdebian 12", "pci\t0000:04:00.0\tdebian 12", "driver\t535.261.03\t12.2"]
    minors = ["minor\tGPU-bb", "minor\t0", "minor\tGPU-aa", "minor\t1"]
    report = parsed(*lines, *minors, *(f"smi\t{line}" for line in TWO))
    assert report.devices == (
        Device(0, 1, "GPU-aa", "NVIDIA A30", gpu="GPU-aa"),
        Device(1, 0, "GPU-bb", "NVIDIA A30", gpu="GPU-bb"),
    )
    assert (report.count, report.on_bus, report.driver, report.cuda, report.trouble) == (2, 2, "535.261.03", (12, 2), "")


def test_the_memory_of_devices_is_read_from_the_table() -> None:
    row = "| 30%   33C    P8    22W / 165W |      4MiB / 24576MiB |      0%      Default |"
    sed = gpu.SHELL[gpu.SHELL.index("sed -n 's/.*Driver") :].rpartition("\nfi")[0]
    done = subprocess.run(["sh", "-c", sed], input=f"{row}\n{row}\n", capture_output=True, text=True, check=True)
    assert done.stdout == "vram\t24576\n" * 2
    assert parsed(*(f"smi\t{line}" for line in TWO), *done.stdout.splitlines()).memory == (24 << 30, 24 << 30)
    assert parsed(*(f"smi\t{line}" for line in DIVIDED), *done.stdout.splitlines()).memory == ()


def test_a_divided_device_counts_as_its_instances() -> None:
    devices = parsed(*(f"smi\t{line}" for line in DIVIDED)).devices
    assert [(device.index, device.uuid, device.mig) for device in devices] == [
        (0, "MIG-c1", True),
        (0, "MIG-c2", True),
        (1, "GPU-bb", False),
    ]


def test_a_failing_driver_is_quoted_and_the_bus_is_counted() -> None:
    broken = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    report = parsed("pci\t0000:03:00.0\tdebian 12", f"smi\t{broken}")
    assert (report.devices, report.trouble, report.count) == ((), broken, 1)


def test_a_machine_without_a_device_reports_nothing() -> None:
    done = subprocess.run(["sh", "-c", gpu.SHELL], capture_output=True, text=True, check=False)
    kinds = {line.split("\t")[0] for line in done.stdout.splitlines()}
    assert kinds <= set(gpu.KINDS)
    assert done.stderr == ""


def machine(lines: list[str]) -> MachineFacts:
    report = GpuReport(gpu.devices(lines, {"GPU-bb": 5}))
    return MachineFacts(8, 1 << 34, report.count, report)


@pytest.mark.parametrize(
    ("lines", "by", "number", "cuda", "watched", "node"),
    [
        (TWO, "index", 1, "0", "GPU-aa", "/dev/nvidia0"),
        (TWO, "index", 2, "1", "GPU-bb", "/dev/nvidia5"),
        (TWO, "uuid", 2, "GPU-bb", "GPU-bb", "/dev/nvidia5"),
        (TWO, "index", 3, "0", "GPU-aa", "/dev/nvidia0"),  # more workers than devices share them
        (DIVIDED, "index", 2, "MIG-c2", "GPU-aa", "/dev/nvidia0"),
        (DIVIDED, "index", 3, "1", "GPU-bb", "/dev/nvidia5"),
    ],
)
def test_a_worker_sees_one_device(lines: list[str], by: str, number: int, cuda: str, watched: str, node: str) -> None:
    device = visible(machine(lines), Nvidia.model_validate({"devices_by": by}), number)
    assert (device.cuda, device.watched, device.nodes[0]) == (cuda, watched, node)
    assert ("char-nvidia-caps" in device.nodes) == cuda.startswith("MIG")


def test_a_stand_in_opens_nothing() -> None:
    device = visible(MachineFacts(1, 1 << 30, gpus=1), Nvidia(driver="none"), 1)
    assert (device.cuda, device.watched, device.nodes) == ("0", "", ())


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [("535.261.03", (12, 2)), ("550.163.01", (12, 4)), ("552.1", (12, 4)), ("580.65.06", (13, 0)), ("900.1", None), ("", None)],
)
def test_the_cuda_of_a_driver(driver: str, cuda: tuple[int, int] | None) -> None:
    assert gpu.cuda_of_driver(driver) == cuda


@pytest.mark.parametrize(
    ("requirements", "cuda"),
    [
        ("celery==5.7.0\nnvidia-cuda-runtime-cu12==12.4.127 \\\n    --hash=sha256:00\ntorch==2.6.0\n", (12, 4)),
        ("nvidia-cuda-runtime==13.0.96\n", (13, 0)),
        ("torch==2.5.1+cu121\n", (12, 1)),
        ("celery==5.7.0\n", None),
    ],
)
def test_the_cuda_of_requirements(requirements: str, cuda: tuple[int, int] | None) -> None:
    assert gpu.cuda_of_requirements(requirements) == cuda


@pytest.mark.parametrize(
    ("required", "fails"), [((12, 1), None), ((12, 2), None), ((11, 8), None), ((12, 4), False), ((13, 0), True)]
)
def test_a_driver_runs_its_own_cuda_and_older_ones(required: tuple[int, int], fails: bool | None) -> None:
    mismatch = gpu.mismatch(required, "535", (12, 2))
    assert (mismatch[0] if mismatch else None) == fails
