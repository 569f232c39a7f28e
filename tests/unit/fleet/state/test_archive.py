"""A disk that takes no files: one line that names a path and the reason, and not a line a file."""

import os
import subprocess
from pathlib import Path

import pytest

from fleet.spec.settings import Settings
from fleet.state import archive, release
from fleet.state.desired import Directory, Entry, File

FILES: list[Entry] = [Directory("/opt/fleet"), *(File(f"/opt/fleet/{number}.env", b"x" * 9000) for number in range(30))]
ROOT = Path(__file__).parents[4]


def in_a_place_of_its_own(mount: str, command: str, stdin: str) -> "subprocess.CompletedProcess[str]":
    """Run sh in a mount namespace with an /opt of its own."""
    script = f'{mount} && exec sh -c "$0"'
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, command]
    return subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)


def can_mount() -> bool:
    return os.getuid() == 0 and in_a_place_of_its_own("mount -t tmpfs none /opt", "true", "").returncode == 0


@pytest.mark.parametrize("command", ["files", "release"])
@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        ("mount -t tmpfs -o ro none /opt", "Read-only file system"),
        ("mount -t tmpfs -o size=40k none /opt", "No space left on device"),
    ],
)
@pytest.mark.skipif(not can_mount(), reason="only root has mount namespaces here")
def test_a_disk_that_takes_no_files(command: str, mount: str, reason: str) -> None:
    if command == "files":
        done = in_a_place_of_its_own(mount, archive.UNPACK, archive.as_text(archive.pack(FILES)))
    else:
        shop = release.of(Settings(celery_app="shop.app", app_source=str(ROOT / "examples" / "shop")), (), "3.11")
        done = in_a_place_of_its_own(mount, release.build_command(shop, 5), archive.as_text(shop.archive()))
    (line,) = done.stderr.splitlines()
    assert line.startswith("/opt/fleet")
    assert line.endswith(f": {reason}")
    assert done.returncode == 1


def test_what_is_no_archive() -> None:
    done = subprocess.run(["sh", "-c", archive.UNPACK], input="eA==", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
