"""What an app pins, as lines of a requirements.txt: of such a file, or of the lock files of uv, Poetry and PEP 751.

uv.lock goes through uv's own export. Of the other two, only what has to be installed in any case is taken: no extras, and no
groups for development.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from fleet.errors import FleetError
from fleet.spec.files import read_text, shown

PATIENCE = 60
"""Seconds for uv to read a lock: it asks nobody."""
EXPORT = ("export", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate", "--format", "requirements.txt")
_CHOSEN = re.compile(r"\b(extras|extra|dependency_groups)\b")
"""In a marker: about what somebody may ask for."""


class PinsError(FleetError):
    """A file of requirements that pins nothing, or cannot be read. str() says what to do."""


def text_of(path: Path) -> str:
    """The pinned requirements of an app. Raises PinsError, SpecError for a text that is not UTF-8, and OSError."""
    status = path.stat()
    return _text_of(path, status.st_mtime_ns, status.st_size)


def locks_beside(path: Path) -> list[str]:
    """The names of lock files in a folder in which a file is missing."""
    return [name for name in READERS if name != "pyproject.toml" and (path.parent / name).is_file()]


@lru_cache(maxsize=64)
def _text_of(path: Path, modified: int, size: int) -> str:
    """modified, size: of the file, which may change while a program runs."""
    reader = READERS.get(path.name)
    return reader(path) if reader else read_text(path)


def _of_uv(path: Path) -> str:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise PinsError(f"{shown(path)}: reading it needs uv: pip install uv")
    command = [uv, *EXPORT, "--directory", str(path.parent.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise PinsError(f"{shown(path)}: uv export did not end within {PATIENCE} s") from None
    if done.returncode:
        raise PinsError(f"{shown(path)}: uv export: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout


def _of_pylock(path: Path) -> str:
    lines = []
    for package in _packages(path, "packages"):
        marker = package.get("marker", "")
        if _CHOSEN.search(marker):
            continue
        hashes = [
            f"{name}:{digest}"
            for file in (*package.get("wheels", ()), *filter(None, (package.get("sdist"), package.get("archive"))))
            for name, digest in file.get("hashes", {}).items()
        ]
        lines.append(_line(package, _of_vcs(package), marker, hashes))
    return "".join(lines)


def _of_vcs(package: Mapping[str, Any]) -> str:
    """Where a package comes from, if that is no index."""
    if vcs := package.get("vcs"):
        return f"{vcs['type']}+{vcs['url']}@{vcs['commit-id']}"
    if archive := package.get("archive"):
        return str(archive.get("url", archive.get("path", "")))
    return str(package.get("directory", {}).get("path", ""))


def _of_poetry(path: Path) -> str:
    lines = []
    for package in _packages(path, "package"):
        if "groups" not in package:
            raise PinsError(
                f"{shown(path)}: does not say which packages are for development alone: lock it with Poetry 2, or run "
                "poetry export --output requirements.txt"
            )
        if "main" not in package["groups"] or package.get("optional"):
            continue
        markers = package.get("markers", "")
        source = package.get("source", {})
        url = f"git+{source['url']}@{source['resolved_reference']}" if source.get("type") == "git" else ""
        if source.get("type") in ("directory", "file"):
            url = source["url"]
        hashes = [file["hash"] for file in package.get("files", ())]
        lines.append(_line(package, url, markers.get("main", "") if isinstance(markers, dict) else markers, hashes))
    return "".join(lines)


def _line(package: Mapping[str, Any], url: str, marker: str, hashes: Iterable[str]) -> str:
    if url and "://" not in url:
        return f"{url if url.startswith(('.', '/')) else f'./{url}'}\n"  # on this machine alone: `unpinned` refuses it
    pin = f"{package['name']} @ {url}" if url else f"{package['name']}=={package['version']}"
    condition = f" ; {marker}" if marker else ""
    return pin + condition + "".join(f" \\\n    --hash={each}" for each in hashes) + "\n"


def _packages(path: Path, name: str) -> Iterator[Mapping[str, Any]]:
    try:
        yield from tomllib.loads(read_text(path))[name]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise PinsError(f"{shown(path)}: is no such lock file: {error}") from None


def _of_pyproject(path: Path) -> str:
    locks = [f'write app_requirements = "{name}"' for name in locks_beside(path)]
    advice = " or ".join(locks) or f'run uv lock in {shown(path.parent)}, and write app_requirements = "uv.lock"'
    raise PinsError(f"{shown(path)}: pins nothing; {advice}")


READERS = {"uv.lock": _of_uv, "pylock.toml": _of_pylock, "poetry.lock": _of_poetry, "pyproject.toml": _of_pyproject}
"""Name of a file → what reads it. Any other is a requirements.txt."""
