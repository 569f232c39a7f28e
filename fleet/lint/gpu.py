"""GPUs: every machine has the devices that it should have, and a driver that runs the app's CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path

from fleet.lint.app import App
from fleet.lint.finding import Violation, rule
from fleet.plan import gpu
from fleet.plan.gpu import GpuReport, Version
from fleet.plan.plan import Plan
from fleet.plan.sizing import mib
from fleet.spec import openpgp, pins
from fleet.spec.settings import Settings


def _gpu_hosts(plan: Plan) -> Iterator[tuple[str, Settings, GpuReport]]:
    """(host, its settings, its report) of every host with a GPU role.

    Left out are hosts that were not asked, and hosts with nvidia.driver = none, whose devices are simulated.
    """
    hosts = dict.fromkeys(placement.host for placement in plan.placed if placement.worker.workload == "gpu")
    for host in hosts:
        settings, report = plan.fleet.hosts[host].settings, plan.machines[host].gpu_report
        if report is not None and settings.nvidia.driver != "none":
            yield host, settings, report


@rule("gpu-missing", "error")
def gpu_missing(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A GPU role runs one worker for each device. Without a device it has no worker."""
    for placement in plan.placed:
        if placement.worker.workload != "gpu" or placement.sized.instances:
            continue
        report, driver = plan.machines[placement.host].gpu_report, plan.fleet.hosts[placement.host].settings.nvidia.driver
        if report is not None and report.trouble:
            continue  # the rule gpu-driver reports it
        if report is None:
            hint = "say how many are meant: --assume …,gpus=1, or gpus for the host"
        elif driver == "none":
            hint = "say how many are meant: gpus = 1"
        elif driver == "debian":
            hint = "the bus has no NVIDIA device: take the machine out of the group"
        else:
            hint = 'install its driver, or have it installed: nvidia = {"driver": "debian"}'
        yield Violation(f"{placement.path}.instances", f"no GPU found; {hint}", (placement.host,))


@rule("gpu-driver", "error")
def gpu_driver(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """If the driver does not answer, every task that uses the GPU fails. The first failed task would be the first sign."""
    for host, settings, report in _gpu_hosts(plan):
        if settings.nvidia.driver == "existing" and not report.devices and (report.trouble or report.on_bus):
            problem = f"nvidia-smi says: {report.trouble}" if report.trouble else "there is no nvidia-smi"
            yield Violation("nvidia.driver", f'existing, and {problem}; mend it, or have it installed: "debian"', (host,))


@rule("gpu-count", "error")
def gpu_count(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """If the number of devices differs from gpus, the machine has lost a device, or the wrong machine answers to its name."""
    for host, settings, report in _gpu_hosts(plan):
        if settings.gpus is not None and not report.trouble and report.count != settings.gpus:
            names = ", ".join(f"{device.index}: {device.name}" for device in report.devices) or "by the bus; no driver yet"
            actual = f"{report.count} ({names})" if report.count else "none"
            yield Violation(
                "gpus",
                f'{settings.gpus}, and the machine has {actual}; mend it, or say so for this host: {{"gpus": {report.count}}}',
                (host,),
            )


@rule("gpu-lost", "warning")
def gpu_lost(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A device on the bus that nvidia-smi does not list has no driver, or has failed."""
    for host, _, report in _gpu_hosts(plan):
        listed = len({device.minor for device in report.devices})
        if listed and report.on_bus > listed:
            yield Violation("gpus", f"the bus has {report.on_bus} NVIDIA devices, and nvidia-smi lists {listed}", (host,))


@rule("gpu-names", "note")
def gpu_names(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A device's UUID is unknown until its driver runs. Workers use the index until the deploy after that."""
    for host, settings, report in _gpu_hosts(plan):
        if settings.nvidia.devices_by == "uuid" and not report.devices and report.on_bus:
            yield Violation(
                "nvidia.devices_by",
                "uuid, and no driver reports it yet: devices go by index until the next deploy",
                (host,),
            )


@rule("gpu-shared", "error")
def gpu_shared(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """In exclusive mode a device accepts one process. Every task of a second worker on it fails."""
    for placement in plan.placed:
        settings, gpus, worker = (
            plan.fleet.hosts[placement.host].settings,
            plan.machines[placement.host].gpus,
            placement.worker,
        )
        if worker.workload != "gpu" or settings.nvidia.compute_mode != "exclusive":
            continue
        why = "and nvidia.compute_mode is exclusive"
        if placement.sized.instances > gpus > 0:
            yield Violation(
                f"{placement.path}.instances",
                f'{placement.sized.instances} on {gpus} device(s), {why}; write "auto"',
                (placement.host,),
            )
        if placement.sized.concurrency > 1:
            yield Violation(
                f"{placement.path}.concurrency",
                f"{placement.sized.concurrency} processes on a device, {why}; write 1",
                (placement.host,),
            )
        if worker.min_consumers:
            yield Violation(
                f"{placement.path}.min_consumers",
                f"{worker.min_consumers}: a second instance would start on a device that has one, {why}; write 0",
                (placement.host,),
            )


@rule("gpu-crowded", "error")
def gpu_crowded(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Processes on one device share its memory, and nothing holds any of them to its part: one that takes more fails the
    others."""
    for host in dict.fromkeys(of.host for of in plan.placed if of.worker.workload == "gpu"):
        machine, settings = plan.machines[host], plan.fleet.hosts[host].settings
        placed = [of for of in plan.placed if of.host == host and of.worker.workload == "gpu"]
        processes = sum(of.sized.instances * (of.sized.concurrency if of.worker.pool == "prefork" else 1) for of in placed)
        on_each = ceil(processes / machine.gpus) if machine.gpus else 0
        if on_each > settings.nvidia.share:
            of_each = machine.gpu_report.memory if machine.gpu_report else ()
            memory = f", with {mib(min(of_each) // on_each)} of its memory for each" if of_each else ""
            yield Violation(
                f"{placed[0].path}.instances",
                f'{processes} processes on {machine.gpus} device(s), {on_each} on one{memory}; write "auto", or allow it: '
                f'nvidia = {{"share": {on_each}}}',
                (host,),
            )


@rule("gpu-repository", "error")
def gpu_repository(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A repository signed by an unexpected key may serve someone else's driver."""
    for host in dict.fromkeys(placement.host for placement in plan.placed):
        repository = plan.fleet.hosts[host].settings.nvidia.repository
        if repository and (mistake := openpgp.mistake(repository.key, repository.fingerprint)):
            setting, message = mistake
            yield Violation(f"nvidia.repository.{setting}", message, (host,))


def _cuda_mismatches(plan: Plan, fails: bool) -> Iterator[Violation]:
    """Hosts whose driver is older than the app's CUDA. fails: those whose tasks fail for certain, or those whose tasks may
    fail."""
    cuda_of_file: dict[Path, Version | None] = {}
    for host, settings, report in _gpu_hosts(plan):
        required, path = gpu.version(settings.nvidia.cuda or ""), "nvidia.cuda"
        if not settings.nvidia.cuda:
            path, file = "app_requirements", Path(settings.app_source) / settings.app_requirements
            if file not in cuda_of_file:  # most hosts share one file
                cuda_of_file[file] = gpu.cuda_of_requirements(pins.text_of(file))
            required = cuda_of_file[file]
        to_install = gpu.DRIVER_OF.get(report.distribution, "") if settings.nvidia.repository is None else ""
        driver = report.driver or to_install
        supported = report.cuda or gpu.cuda_of_driver(driver)
        mismatch = gpu.mismatch(required, driver, supported) if required and supported else None
        if mismatch and mismatch[0] == fails:
            yield Violation(path, mismatch[1], (host,))


@rule("cuda-too-new", "error")
def cuda_too_new(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A driver cannot run CUDA of a later major version. Every task on the device would fail."""
    yield from _cuda_mismatches(plan, fails=True)


@rule("cuda-newer", "warning")
def cuda_newer(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Within a major version, a newer CUDA mostly runs on an older driver. Code that is compiled at run time (PTX) does not."""
    yield from _cuda_mismatches(plan, fails=False)
