"""What sizing has to know of a machine: cores, memory and GPUs, assumed, or asked of the machine over SSH."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.errors import FleetError
from fleet.plan import gpu
from fleet.plan.gpu import Gpus
from fleet.spec.sizes import parse_size

SHELL = (
    """read -r MemTotal memory unit </proc/meminfo
printf 'memory\\t%s\\n' "$memory"
printf 'cores\\t%s\\n' "$(nproc)"
"""
    + gpu.SHELL
)
"""sh that prints them, as lines of `kind<TAB>value`; memory in KiB. The deploy's probe has the same lines."""


class FactsError(FleetError):
    """Machines did not answer, or an assumption is no assumption. str() has a line for each."""


@dataclass(frozen=True)
class MachineFacts:
    """A machine as sizing sees it. memory in bytes; gpus counts devices. found: what it says of them; None where nobody asked."""

    cores: int
    memory: int
    gpus: int = 0
    found: Gpus | None = None


def assume(text: str) -> MachineFacts:
    """A machine from `cores=8,memory=16G,gpus=1` (gpus may be left out). Raises FactsError that says what to write."""
    fields = dict(re.findall(r"([a-z]+)=([^,\s]+)", text))
    unknown = [name for name in fields if name not in ("cores", "memory", "gpus")]
    missing = [name for name in ("cores", "memory") if name not in fields]
    if unknown or missing:
        said = f"{', '.join(unknown)} is unknown" if unknown else f"{' and '.join(missing)} missing"
        raise FactsError(f"--assume {text}: {said}; write e.g. cores=8,memory=16G,gpus=1")
    try:
        machine = MachineFacts(int(fields["cores"]), parse_size(fields["memory"]), int(fields.get("gpus", "0")))
    except ValueError:
        raise FactsError(f"--assume {text}: write e.g. cores=8,memory=16G,gpus=1") from None
    if machine.cores < 1 or machine.gpus < 0:
        raise FactsError(f"--assume {text}: write e.g. cores=8,memory=16G,gpus=1")
    return machine


def parse(output: Iterable[str]) -> MachineFacts:
    """What SHELL printed. Raises ValueError where something is missing."""
    lines = [line.rstrip("\n").split("\t") for line in output]
    single = {kind: fields[0] for kind, *fields in lines if fields}
    if not {"memory", "cores"} <= set(single):
        raise ValueError("no memory, or no cores")
    found = gpu.parse(lines)
    return MachineFacts(int(single["cores"]), int(single["memory"]) * 1024, found.count, found)
