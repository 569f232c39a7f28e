"""The command line of a step."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


@pytest.mark.skipif(
    os.getuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0,
    reason="only root has mount namespaces here",
)
@pytest.mark.parametrize("words", [["--commit"], ["--put-back"], []])
def test_a_disk_that_is_read_only_is_one_line(words: list[str]) -> None:
    done = subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private"),
            *(
                "sh",
                "-c",
                'mount -t tmpfs -o ro none /var/lib && exec "$@"',
                "sh",
                sys.executable,
                "-m",
                "fleet_node.step",
                *words,
            ),
        ],
        input='{"timeout": 1}',
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "/var/lib/fleet: Read-only file system\n")
