"""The image that all labs boot from: built once a week and recipe, stored in the user's cache."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from lab import apt_sources, child, guest_files, recipe, tools
from lab.errors import LabError
from lab.interrupt import Stop
from lab.progress import Progress

CERTIFICATES = Path("/usr/local/share/ca-certificates")
UNUSED_DAYS = 30
BUILD_TIMEOUT_S = 1800


def cache_directory() -> Path:
    """The folder of the images: $XDG_CACHE_HOME (or ~/.cache)/celery-fleet/images."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "celery-fleet" / "images"


def ensure(progress: Progress, stop: Stop) -> Path:
    """The directory of this week's image (vmlinuz, initrd.img, disk.raw), built if it is missing (about a minute).

    Raises `LabError` if a tool is missing or the build fails. A build that fails or is interrupted leaves no files.
    """
    root = os.geteuid() == 0
    sources = apt_sources.of_this_machine(recipe.SUITE)
    # A guest that connects through this machine's TLS proxy needs the same extra certificates.
    files = guest_files.files_tar({file.name: file.read_bytes() for file in sorted(CERTIFICATES.glob("*.crt"))})
    year, week, _ = date.today().isocalendar()
    image = cache_directory() / recipe.digest(files, sources, f"{year}-W{week:02}")
    if not image.is_dir():
        tools.check(tools.TO_BUILD if root else (*tools.TO_BUILD, *tools.TO_BUILD_WITHOUT_ROOT))
        image.parent.mkdir(parents=True, exist_ok=True)
        with _lock(image.parent, progress, stop):
            if not image.is_dir():  # else another command built it while this command waited
                _build(image, files, sources, progress, stop, root=root)
                _forget_unused(image.parent)
                return image
    os.utime(image)
    progress.event(f"image: cached ({image.name})")
    return image


def _build(image: Path, files: bytes, sources: list[str], progress: Progress, stop: Stop, *, root: bool) -> None:
    for leftover in image.parent.glob(".build-*"):  # of a build that was killed; the lock says that none runs
        shutil.rmtree(leftover)
    progress.event(f"image: building {image.name} (about a minute, once a week)")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=image.parent) as name:
        work = Path(name)
        (work / "files.tar").write_bytes(files)
        finish = ["sh", "-c", recipe.FINISH]
        steps = {
            "packages": recipe.mmdebstrap_argv(sources, root=root),
            "disk": finish if root else ["fakeroot", "--", *finish],
        }
        for step, command in steps.items():

            def watch(line: str, step: str = step) -> None:
                progress.doing("image", f"{step}: {line.removeprefix('I: ')[:70]}")

            progress.doing("image", step)
            status, printed = child.run(command, stop, timeout=BUILD_TIMEOUT_S, cwd=work, watch=watch)
            if status:
                tail = "\n".join(printed.strip().splitlines()[-12:])
                raise LabError(f"image: {step} failed with status {status} ({command[0]}); it said at last:\n{tail}")
        stop.check()
        made = work / "image"
        made.mkdir()
        for part in ("vmlinuz", "initrd.img", "disk.raw"):
            (work / part).rename(made / part)
        made.rename(image)
    progress.doing("image", None)
    progress.event("image: built")


@contextmanager
def _lock(directory: Path, progress: Progress, stop: Stop) -> Iterator[None]:
    with (directory / ".lock").open("w") as file:
        waited = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    progress.event("image: another command builds it; waiting")
                    waited = True
                stop.sleep(0.5)
        yield


def _forget_unused(directory: Path) -> None:
    for image in directory.glob("[0-9a-f]*"):
        if image.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
            shutil.rmtree(image, ignore_errors=True)
