"""The shell commands do on a machine what they say."""

import os
import subprocess
from pathlib import Path

from fleet.state.systemctl import disable

SYSTEMCTL = """#!/bin/sh
# There are a.service and b.service.
case "$1 $2" in
  "cat a.service" | "cat b.service") exit 0 ;;
  is-active*) [ "$3" = orphan.service ] ;;
  cat*) echo "No files found for $2." >&2; exit 1 ;;
  *) echo "$@"; case "$*" in *gone*) echo "Unit file gone.service does not exist." >&2; exit 1 ;; esac ;;
esac
"""


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a machine with the units a.service and b.service."""
    (folder / "systemctl").write_text(SYSTEMCTL)
    (folder / "systemctl").chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return subprocess.run(["sh", "-c", command], env={"PATH": path}, capture_output=True, text=True, check=False)


def test_units_that_are_gone_meanwhile_are_not_disabled(tmp_path: Path) -> None:
    done = run(tmp_path, disable(["a.service", "gone.service", "b.service"]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "disable --now a.service b.service\n", "")


def test_a_unit_without_a_file_that_runs_is_stopped(tmp_path: Path) -> None:
    done = run(tmp_path, disable(["orphan.service", "a.service"]))
    assert (done.returncode, done.stdout) == (0, "stop orphan.service\ndisable --now a.service\n")


def test_nothing_is_disabled_if_all_units_are_gone(tmp_path: Path) -> None:
    done = run(tmp_path, disable(["gone.service"]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
