"""NVIDIA's driver, installed for real into a root of the lab's image: its module is built for that root's kernel.

The root is a chroot and not a machine: under emulation the build takes over half an hour, here two minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab import image
from lab.interrupt import Stop
from lab.progress import Progress
from tests.online.conftest import BIN, ROOT

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a chroot is root's"),
]


@contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    subprocess.run(["mount", *arguments], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", arguments[-1]], check=True)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The root of a lab's machine, not booted."""
    disk, root = tmp_path / "disk", tmp_path / "root"
    root.mkdir()
    with Progress() as progress:
        place = image.ensure(progress, Stop())
    subprocess.run(["cp", "--sparse=always", place / "disk.raw", disk], check=True)
    with ExitStack() as stack:
        stack.enter_context(mounted("-o", "loop", str(disk), str(root)))
        stack.enter_context(mounted("-t", "proc", "proc", str(root / "proc")))
        stack.enter_context(mounted("--bind", "/dev", str(root / "dev")))
        (root / "etc" / "resolv.conf").unlink()  # a link that only a booted machine can follow
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
        yield root


def install(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "pyinfra"), f"@chroot/{root}", "tests/online/gpu/install.py", "-y"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PATH": f"{os.environ['PATH']}:/usr/sbin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def test_the_driver_is_built_for_the_kernel_and_a_second_run_changes_nothing(root: Path) -> None:
    done = install(root)
    assert done.returncode == 0, done.stdout + done.stderr
    (kernel,) = [path.name for path in (root / "lib" / "modules").iterdir()]
    modules = {path.name.partition(".")[0] for path in (root / "lib" / "modules" / kernel / "updates" / "dkms").iterdir()}
    assert {"nvidia-current", "nvidia-current-uvm"} <= modules
    output = subprocess.run(
        ["chroot", root, "modinfo", "-k", kernel, "nvidia-current"], capture_output=True, text=True, check=True
    ).stdout
    vermagic = next(line for line in output.splitlines() if line.startswith("vermagic:"))
    assert kernel in vermagic
    subprocess.run(["chroot", root, "sh", "-c", "command -v nvidia-smi && command -v nvidia-persistenced"], check=True)
    assert "blacklist nouveau" in (root / "etc" / "modprobe.d" / "fleet-nvidia.conf").read_text()
    sources = (root / "etc" / "apt" / "sources.list.d" / "fleet-nvidia.sources").read_text()
    assert sources.count("Components: contrib non-free non-free-firmware") == 3  # of the mirror's three suites
    done = install(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Starting operation" not in done.stdout + done.stderr
