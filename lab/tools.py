"""The programs that the lab needs on this machine."""

import shutil
from collections.abc import Iterable

from lab.errors import LabError

PACKAGE_OF = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "tar": "tar",
    "fakeroot": "fakeroot",
    "newuidmap": "uidmap",
}
TO_RUN = ("qemu-system-x86_64", "qemu-img", "ssh", "ssh-keygen")
TO_BUILD = ("mmdebstrap", "mke2fs", "tar")
TO_BUILD_WITHOUT_ROOT = ("fakeroot", "newuidmap")


def missing_message(missing: Iterable[str]) -> str:
    """A message about all missing programs, with the Debian packages to install."""
    programs = list(missing)
    packages = sorted({PACKAGE_OF[program] for program in programs})
    return f"missing: {', '.join(programs)}. Install with: apt-get install {' '.join(packages)}"


def check(programs: Iterable[str]) -> None:
    """Raise one `LabError` that names all of `programs` that are not on PATH."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        raise LabError(missing_message(missing))
