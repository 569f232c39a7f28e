"""A disk of the control machine that is read-only or full: one line that names the path and the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.render.conftest import ROOT
from tests.render.test_same_errors import project

__all__ = ["project"]

READ_ONLY = "mount --bind . . && mount -o remount,bind,ro . && cd ."
READ_ONLY_HOME = "mount -t tmpfs -o ro none /mnt"
FULL_HOME = """\
mount -t tmpfs -o size=8k none /mnt && touch /mnt/secrets.env && chmod 600 /mnt/secrets.env && head -c 8192 /dev/zero >/mnt/x"""
DEFECT = "import pyinfra_cli.cli\n\ndef run_ops(*_, **__):\n    raise KeyError('defect')\n\npyinfra_cli.cli.run_ops = run_ops\n"
LINT = ("fleet", "lint", "prod.py", "--assume", "cores=4,memory=8G")
CASES = {
    "no secrets file": (READ_ONLY, ("fleet", "secrets", "new.env"), 1, "new.env: Read-only file system"),
    "no folder of secrets": (READ_ONLY, ("fleet", "secrets", "new/prod.env"), 1, "new: Read-only file system"),
    "no room for secrets": (FULL_HOME, ("fleet", "secrets", "/mnt/secrets.env"), 1, "/mnt/secrets.env: No space left on device"),
    "no cache": (READ_ONLY_HOME, LINT, 2, "/mnt/celery-fleet/apps: Read-only file system; XDG_CACHE_HOME says where"),
    "no room in the cache": (FULL_HOME, LINT, 2, "/mnt/celery-fleet/apps: No space left on device; XDG_CACHE_HOME says where"),
    "no room for a venv": (
        "mount -t tmpfs -o size=40k none /mnt",
        LINT,
        2,
        "No space left on device (os error 28); XDG_CACHE_HOME says where to keep what is built",
    ),
    "no cache for the app": (
        READ_ONLY_HOME,
        (*LINT, "--python", sys.executable),
        2,
        "Read-only file system; XDG_CACHE_HOME says where to keep what is built",
    ),
    "no folder for a defect's traceback": (
        READ_ONLY,
        ("pyinfra", "prod.py", "defect.py", "-y"),
        1,
        "--> the traceback was not kept: pyinfra-debug.log: Read-only file system",
    ),
    "nothing to keep is no error": (READ_ONLY, ("pyinfra", "prod.py", "deploy.py", "--dry"), 0, ""),
    "no home is no error": (READ_ONLY_HOME, ("pyinfra", "prod.py", "deploy.py", "--dry"), 0, "Read-only file system"),
}


def command(folder: Path, mount: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run in a mount namespace, with /mnt as home."""
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= dict.fromkeys(("XDG_CACHE_HOME", "XDG_STATE_HOME"), "/mnt")
    path = str(Path(sys.executable).parent / words[0])
    # cd anew: the working directory is below what is mounted over it.
    script = f'{mount} && cd "$PWD" && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", path, *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(
    os.getuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0,
    reason="only root has mount namespaces here",
)
@pytest.mark.parametrize("case", CASES)
def test_a_disk_that_cannot_be_written(project: Path, case: str) -> None:
    (project / "defect.py").write_text(DEFECT)
    mount, words, exit_code, expected = CASES[case]
    done = command(project, mount, *words)
    output = done.stdout + done.stderr
    assert done.returncode == exit_code, output
    assert any(expected in line for line in output.splitlines()), output
    assert "Traceback" not in output
