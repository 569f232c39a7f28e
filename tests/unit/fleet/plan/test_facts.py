"""Facts about a machine: assumed, parsed, or asked of the machine."""

import subprocess

import pytest

from fleet.inventory.ask import ask_machines
from fleet.plan import facts
from fleet.plan.facts import FactsError, MachineFacts


def test_an_assumption_gives_a_machines_facts() -> None:
    assert facts.assume("cores=8,memory=16G,gpus=1") == MachineFacts(8, 16 << 30, 1)
    assert facts.assume("memory=512M,cores=2") == MachineFacts(2, 512 << 20, 0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "cores and memory missing; write e.g. cores=8,memory=16G,gpus=1"),
        ("cores=8", "memory missing; write e.g. cores=8,memory=16G,gpus=1"),
        ("cores=8,memory=1G,disks=2", "disks is unknown; write e.g. cores=8,memory=16G,gpus=1"),
        ("cores=many,memory=1G", "cores=many is no number from 1 on; write e.g. cores=8"),
        ("cores=0,memory=1G", "cores=0 is no number from 1 on; write e.g. cores=8"),
        ("cores=8,memory=1G,gpus=-1", "gpus=-1 is no number from 0 on; write e.g. gpus=1"),
        ("cores=8,memory=lots", 'memory=lots: write a size such as "512M" or "2G"'),
        ("cores=8,memory=1", 'memory=1: write a size such as "512M" or "2G" (a bare number is bytes)'),
    ],
)
def test_a_wrong_assumption_is_answered_with_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(FactsError) as caught:
        facts.assume(text)
    assert str(caught.value) == f"--assume {text}: {problem}"


def test_the_shell_script_reports_this_machine() -> None:
    done = subprocess.run(["sh", "-c", facts.SHELL], capture_output=True, text=True, check=False)
    machine = facts.parse(done.stdout.splitlines())
    assert machine.cores >= 1
    assert machine.memory > 1 << 28


def test_devices_are_counted() -> None:
    lines = ["memory\t1024", "cores\t2", "smi\tGPU 0: A30 (UUID: GPU-a)", "smi\tGPU 1: A30 (UUID: GPU-b)"]
    assert facts.parse(lines).gpus == 2


def test_output_without_facts_is_refused() -> None:
    with pytest.raises(ValueError, match="no memory"):
        facts.parse(["Welcome!"])


def test_every_machine_that_does_not_answer_is_named() -> None:
    # Port 9 of loopback: nothing listens there.
    nowhere = {"ssh_hostname": "127.0.0.1", "ssh_port": 9}
    answered: list[str] = []
    with pytest.raises(FactsError) as caught:
        ask_machines({"web1": nowhere, "web2": nowhere}, answered.append)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("web1: ")
    assert lines[1].startswith("web2: ")
    assert len(lines) == 2
    assert sorted(answered) == ["web1", "web2"]
