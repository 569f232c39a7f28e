"""What sizing needs to know about a machine: cores, memory and GPUs. The machine reports them, or the user assumes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.errors import FleetError
from fleet.plan import gpu
from fleet.plan.gpu import GpuReport
from fleet.spec.sizes import parse_size

SHELL = (
    """read -r MemTotal memory unit </proc/meminfo
printf 'memory\\t%s\\n' "$memory"
printf 'cores\\t%s\\n' "$(nproc)"
"""
    + gpu.SHELL
)
"""Shell script that prints the facts as lines of `kind<TAB>value`, memory in KiB. The deploy's probe prints the same lines."""


class FactsError(FleetError):
    """Some machines did not answer, or `--assume` cannot be parsed. str() has one line for each."""


@dataclass(frozen=True)
class MachineFacts:
    """A machine as sizing sees it. memory: bytes. gpus: number of devices.

    gpu_report: what the machine reports about its devices; None if the machine was not asked.
    """

    cores: int
    memory: int
    gpus: int = 0
    gpu_report: GpuReport | None = None


def assume(text: str) -> MachineFacts:
    """Parse the facts in `cores=8,memory=16G,gpus=1`; gpus is optional. Raises FactsError that says what to write."""
    fields = dict(re.findall(r"([a-z]+)=([^,\s]+)", text))
    unknown = [name for name in fields if name not in ("cores", "memory", "gpus")]
    missing = [name for name in ("cores", "memory") if name not in fields]
    if unknown or missing:
        problem = f"{', '.join(unknown)} is unknown" if unknown else f"{' and '.join(missing)} missing"
        raise FactsError(f"--assume {text}: {problem}; write e.g. cores=8,memory=16G,gpus=1")
    for name, least, example in (("cores", 1, 8), ("gpus", 0, 1)):
        if name in fields and not (fields[name].isdecimal() and int(fields[name]) >= least):
            raise FactsError(f"--assume {text}: {name}={fields[name]} is no number from {least} on; write e.g. {name}={example}")
    try:
        memory = parse_size(fields["memory"])
    except ValueError as error:
        raise FactsError(f"--assume {text}: memory={fields['memory']}: {error}") from None
    return MachineFacts(int(fields["cores"]), memory, int(fields.get("gpus", "0")))


def parse(output: Iterable[str]) -> MachineFacts:
    """Parse the lines that SHELL printed. Raises ValueError if memory or cores are missing."""
    lines = [line.rstrip("\n").split("\t") for line in output]
    values = {kind: fields[0] for kind, *fields in lines if fields}
    if not {"memory", "cores"} <= set(values):
        raise ValueError("no memory, or no cores")
    gpu_report = gpu.parse(lines)
    return MachineFacts(int(values["cores"]), int(values["memory"]) * 1024, gpu_report.count, gpu_report)
