"""GPUs: as many as were asked for, with a driver that runs what the app brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fleet.lint.app import App
from fleet.lint.finding import Violation, rule
from fleet.plan import gpu
from fleet.plan.gpu import Gpus, Version
from fleet.plan.plan import Plan
from fleet.spec import openpgp
from fleet.spec.settings import Settings


def _each(plan: Plan) -> Iterator[tuple[str, Settings, Gpus]]:
    """(host, its settings, what it says of its devices) of every host with a GPU role that was asked, and whose driver is not
    to be left alone."""
    hosts = dict.fromkeys(one.host for one in plan.placed if one.sized.worker.workload == "gpu")
    for host in hosts:
        settings, found = plan.fleet.hosts[host].settings, plan.machines[host].found
        if found is not None and settings.nvidia.driver != "none":
            yield host, settings, found


@rule("gpu-missing", "error")
def gpu_missing(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A GPU role has a worker a device: where there is none, it has no worker."""
    for one in plan.placed:
        if one.sized.worker.workload != "gpu" or one.sized.instances:
            continue
        found, driver = plan.machines[one.host].found, plan.fleet.hosts[one.host].settings.nvidia.driver
        if found is not None and found.trouble:
            continue  # gpu-driver has it
        if found is None:
            hint = "say how many are meant: --assume …,gpus=1, or gpus for the host"
        elif driver == "none":
            hint = "say how many are meant: gpus = 1"
        elif driver == "debian":
            hint = "the bus has no NVIDIA device: take the machine out of the group"
        else:
            hint = 'install its driver, or have it installed: nvidia = {"driver": "debian"}'
        yield Violation(f"{one.path}.instances", f"no GPU found; {hint}", (one.host,))


@rule("gpu-driver", "error")
def gpu_driver(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A driver that does not answer runs nothing, and an app finds out in its first task."""
    for host, settings, found in _each(plan):
        if settings.nvidia.driver == "existing" and not found.devices and (found.trouble or found.on_bus):
            said = f"nvidia-smi says: {found.trouble}" if found.trouble else "there is no nvidia-smi"
            yield Violation("nvidia.driver", f'existing, and {said}; mend it, or have it installed: "debian"', (host,))


@rule("gpu-count", "error")
def gpu_count(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A machine with other devices than it should have has lost one, or is another machine."""
    for host, settings, found in _each(plan):
        if settings.gpus is not None and not found.trouble and found.count != settings.gpus:
            names = ", ".join(f"{one.index}: {one.name}" for one in found.devices) or "by the bus; no driver yet"
            has = f"{found.count} ({names})" if found.count else "none"
            said = f'{settings.gpus}, and the machine has {has}; mend it, or say so for this host: {{"gpus": {found.count}}}'
            yield Violation("gpus", said, (host,))


@rule("gpu-lost", "warning")
def gpu_lost(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """What is on the bus and not listed has no driver, or has died."""
    for host, _, found in _each(plan):
        listed = len({one.minor for one in found.devices})
        if listed and found.on_bus > listed:
            yield Violation("gpus", f"the bus has {found.on_bus} NVIDIA devices, and nvidia-smi lists {listed}", (host,))


@rule("gpu-names", "note")
def gpu_names(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A UUID is known once there is a driver that tells it: until the deploy after that, devices go by their index."""
    for host, settings, found in _each(plan):
        if settings.nvidia.devices_by == "uuid" and not found.devices and found.on_bus:
            yield Violation(
                "nvidia.devices_by",
                "uuid, and there is no driver yet that tells it: by index until the next deploy",
                (host,),
            )


@rule("gpu-shared", "error")
def gpu_shared(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """In exclusive mode a device takes one process: a second worker's tasks all fail."""
    for one in plan.placed:
        settings, gpus, worker = plan.fleet.hosts[one.host].settings, plan.machines[one.host].gpus, one.sized.worker
        if worker.workload != "gpu" or settings.nvidia.compute_mode != "exclusive":
            continue
        why = "and nvidia.compute_mode is exclusive"
        if one.sized.instances > gpus > 0:
            yield Violation(
                f"{one.path}.instances", f'{one.sized.instances} on {gpus} device(s), {why}; write "auto"', (one.host,)
            )
        if one.sized.concurrency > 1:
            yield Violation(
                f"{one.path}.concurrency", f"{one.sized.concurrency} processes on a device, {why}; write 1", (one.host,)
            )
        if worker.min_consumers:
            said = f"{worker.min_consumers}: a second instance would start on a device that has one, {why}; write 0"
            yield Violation(f"{one.path}.min_consumers", said, (one.host,))


@rule("gpu-repository", "error")
def gpu_repository(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A repository whose key is not the one that was meant brings a driver of somebody's."""
    for name in dict.fromkeys(one.host for one in plan.placed):
        repository = plan.fleet.hosts[name].settings.nvidia.repository
        if repository and (wrong := openpgp.mistake(repository.key, repository.fingerprint)):
            yield Violation(f"nvidia.repository.{wrong[0]}", wrong[1], (name,))


def _cuda(plan: Plan, fails: bool) -> Iterator[Violation]:
    brought: dict[Path, Version | None] = {}
    for host, settings, found in _each(plan):
        wanted, path = gpu.version(settings.nvidia.cuda or ""), "nvidia.cuda"
        if not settings.nvidia.cuda:
            path, file = "app_requirements", Path(settings.app_source) / settings.app_requirements
            if file not in brought:  # most hosts have the same
                brought[file] = gpu.cuda_of_requirements(file.read_text())
            wanted = brought[file]
        coming = gpu.DRIVER_OF.get(found.distribution, "") if settings.nvidia.repository is None else ""
        driver = found.driver or coming
        has = found.cuda or gpu.cuda_of_driver(driver)
        wrong = gpu.mismatch(wanted, driver, has) if wanted and has else None
        if wrong and wrong[0] == fails:
            yield Violation(path, wrong[1], (host,))


@rule("cuda-too-new", "error")
def cuda_too_new(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A driver runs no CUDA of a later major version: every task on the device would fail."""
    yield from _cuda(plan, fails=True)


@rule("cuda-newer", "warning")
def cuda_newer(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Within a major version a newer CUDA mostly runs on an older driver, and what is compiled at run time does not."""
    yield from _cuda(plan, fails=False)
