"""Rules about GPUs, their drivers and CUDA."""

from dataclasses import replace
from typing import Any

import pytest

from fleet.lint import gpu, lint
from fleet.plan.facts import MachineFacts
from fleet.plan.gpu import Device, GpuReport
from fleet.plan.plan import Plan
from tests.unit.fleet.lint.rules_support import APP, Case, assert_finds, plan, rules_of
from tests.unit.fleet_support import GB

pytestmark = pytest.mark.usefixtures("app_folder")

A30 = GpuReport((Device(0, 0, "GPU-aa", "NVIDIA A30"),), on_bus=1, driver="535.261.03", cuda=(12, 2))


def gpu_plan(report: GpuReport, instances: Any = "auto", **settings: Any) -> Plan:
    """A fleet whose batch machines have GPUs and give this report."""
    return plan(
        batch={"workload": "gpu", "instances": instances},
        machine=MachineFacts(4, 8 * GB, report.count, report),
        **settings,
    )


CASES = {
    "gpu-missing": Case(
        lambda: gpu_plan(GpuReport()),
        APP,
        'batch_worker.instances: no GPU found; install its driver, or have it installed: nvidia = {"driver": "debian"}',
    ),
    "gpu-driver": Case(
        lambda: gpu_plan(GpuReport(on_bus=1, trouble="Failed to initialize NVML: Driver/library version mismatch")),
        APP,
        "nvidia.driver: existing, and nvidia-smi says: Failed to initialize NVML: Driver/library version mismatch; mend it",
    ),
    "gpu-count": Case(
        lambda: gpu_plan(A30, gpus=4),
        APP,
        'gpus: 4, and the machine has 1 (0: NVIDIA A30); mend it, or say so for this host: {"gpus": 1}',
    ),
    "gpu-lost": Case(lambda: gpu_plan(replace(A30, on_bus=2)), APP, "gpus: the bus has 2 NVIDIA devices, and nvidia-smi lists 1"),
    "gpu-names": Case(
        lambda: gpu_plan(GpuReport(on_bus=1), nvidia={"driver": "debian", "devices_by": "uuid"}),
        APP,
        "nvidia.devices_by: uuid, and no driver reports it yet: devices go by index until the next deploy",
    ),
    "gpu-shared": Case(
        lambda: gpu_plan(A30, instances=2, nvidia={"compute_mode": "exclusive"}),
        APP,
        "batch_worker.instances: 2 on 1 device(s), and nvidia.compute_mode is exclusive",
    ),
    "gpu-crowded": Case(
        lambda: gpu_plan(replace(A30, memory=(24 * GB,)), instances=9),
        APP,
        "batch_worker.instances: 9 processes on 1 device(s), 9 on one, with 2731M of its memory for each; write "
        '"auto", or allow it: nvidia = {"share": 9}',
    ),
    "gpu-repository": Case(
        lambda: gpu_plan(
            A30, nvidia={"repository": {"uri": "https://v/", "suite": "./", "key": "v.asc", "fingerprint": "0" * 40}}
        ),
        APP,
        "nvidia.repository.key: v.asc: [Errno 2] No such file or directory: 'v.asc'",
    ),
    "cuda-too-new": Case(
        lambda: gpu_plan(A30, nvidia={"cuda": "13.0"}),
        APP,
        "nvidia.cuda: the app brings CUDA 13.0, and driver 535.261.03 runs up to 12.2: pin wheels for 12.2, or a newer driver",
    ),
    "cuda-newer": Case(
        lambda: gpu_plan(GpuReport(on_bus=1, distribution="debian 12"), nvidia={"driver": "debian", "cuda": "12.4"}),
        APP,
        "nvidia.cuda: the app brings CUDA 12.4, and driver 535 is of 12.2: code that is compiled at run time (PTX) fails",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(gpu)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])


def test_a_healthy_gpu_fleet_breaks_no_rule() -> None:
    findings = lint(gpu_plan(A30, gpus=1, nvidia={"cuda": "12.1"}), (APP,))
    assert [str(finding) for finding in findings] == []


def test_devices_that_are_assumed_are_counted_too() -> None:
    crowded = plan(batch={"workload": "gpu", "instances": 9}, machine=MachineFacts(4, 8 * GB, 1))
    assert [finding.rule for finding in lint(crowded, (APP,)) if finding.level == "error"] == ["gpu-crowded"]
