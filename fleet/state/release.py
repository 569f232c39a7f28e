"""A release: the app's source, its requirements and `fleet_node`, in a directory that is built once and never changed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from hashlib import sha256
from pathlib import Path

from fleet.spec.requirements import merge
from fleet.spec.settings import Settings
from fleet.state.archive import pack
from fleet.state.desired import Directory, File
from fleet.state.observed import RELEASES, ObservedMachine
from roles.machine import HOME, USER

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
POOL_PACKAGES = ("gevent", "eventlet")
VENVS = "/opt/fleet/venvs"
ENVIRONMENT = 1
"""Counts changes in how a venv is made."""


@dataclass(frozen=True)
class Release:
    """A release as it is on the control machine. files: paths relative to the release's directory."""

    id: str
    app: str
    files: tuple[File, ...]

    @property
    def path(self) -> str:
        """Its directory on a machine."""
        return f"{RELEASES}/{self.id}"

    @property
    def python_path(self) -> str:
        """PYTHONPATH of everything that runs in it."""
        return f"{self.path}/src:{self.path}/node"

    def is_built(self, seen: ObservedMachine) -> bool:
        """Whether the machine has it, whole: release.json is written last."""
        return f"{self.path}/release.json" in seen.paths

    def archive(self) -> bytes:
        """What travels to a machine to build it there."""
        folders = {str(parent) for file in self.files for parent in Path(file.path).parents}
        return pack([*(Directory(folder) for folder in folders if folder != "/"), *self.files], destdir=self.path)


def of(settings: Settings, pools: tuple[str, ...], python: str) -> Release:
    """The release that the sources make for machines with this Python (`3.11`). Its id is the hash of all that goes in.

    Raises OSError for a source that can't be read.
    """
    exclude = tuple(settings.app_exclude)
    return _of(settings.celery_app, Path(settings.app_source), settings.app_requirements, exclude, pools, python)


@cache  # a run asks once a host, and reads the sources once
def _of(app: str, source: Path, app_requirements: str, exclude: tuple[str, ...], pools: tuple[str, ...], python: str) -> Release:
    requirements = merge(
        (source / app_requirements).read_text(),
        ((REQUIREMENTS / f"{pool}.txt").read_text() for pool in POOL_PACKAGES if pool in pools),
    )
    files = [
        *_tree(source, "/src", exclude),
        *_tree(ROOT / "fleet_node", "/node/fleet_node", ["__pycache__"]),
        File("/requirements.txt", requirements.encode()),
        File("/uv.txt", (REQUIREMENTS / "uv.txt").read_bytes()),
    ]
    digest = sha256(python.encode())
    for file in sorted(files, key=lambda file: file.path):
        digest.update(f"\0{file.path}\0{file.mode:o}\0{file.digest}".encode())
    return Release(digest.hexdigest()[:12], app, tuple(files))


def _tree(top: Path, prefix: str, exclude: Iterable[str], above: frozenset[Path] = frozenset()) -> Iterator[File]:
    inside = above | {top.resolve()}
    for path in sorted(top.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in exclude):
            continue
        if path.is_dir():
            if path.resolve() not in inside:  # a link to where we are would never end
                yield from _tree(path, f"{prefix}/{path.name}", exclude, inside)
        elif path.is_file():
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            yield File(f"{prefix}/{path.name}", path.read_bytes(), mode)


def build_command(release: Release, kept: int) -> str:
    """sh that builds the release from its archive on stdin (base64), and then lets go of the oldest above `kept`.

    Releases that a unit file names are kept. release.json is written last: what is cut short is built anew.
    """
    uv_version = re.search(rb"^uv==(\S+)", (REQUIREMENTS / "uv.txt").read_bytes(), re.MULTILINE)
    assert uv_version is not None  # noqa: S101 - our own file
    uv_home = f"/opt/fleet/uv-{uv_version[1].decode()}"
    about = json.dumps({"id": release.id, "app": release.app})
    return f"""set -eu
umask 022
rm -rf {release.path}
base64 -d | tar -xzpf - -C /
cd {release.path}
# The distribution's certificates, so that a company's own index works too.
export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt UV_CACHE_DIR=/opt/fleet/cache UV_PYTHON_DOWNLOADS=never
if [ ! -d {uv_home} ]; then
  rm -rf {uv_home}.part
  python3 -m pip install --quiet --root-user-action=ignore --no-deps --require-hashes --target {uv_home}.part -r uv.txt
  mv {uv_home}.part {uv_home}
fi
# Releases with the same requirements share a venv: most differ in the source alone. `.whole` is written last.
venv={VENVS}/$(cat requirements.txt uv.txt - <<END | sha256sum | cut -c-12
$(/usr/bin/python3 -V) {ENVIRONMENT}
END
)
if [ ! -e $venv/.whole ]; then
  rm -rf $venv
  {uv_home}/bin/uv venv --quiet --python /usr/bin/python3 $venv
  {uv_home}/bin/uv pip sync --quiet --python $venv/bin/python --compile-bytecode requirements.txt
  # Pins that leave out what they need would be found task by task. (Other conflicts may be meant: the app's own affair.)
  problems=$({uv_home}/bin/uv pip check --python $venv/bin/python 2>&1) ||
    if printf '%s\\n' "$problems" | grep -E 'not installed|package `({"|".join(POOL_PACKAGES)})`' >&2; then
      echo "requirements.txt does not pin all that is needed with this machine's $(python3 -V): make it with" \
        'uv pip compile --universal --generate-hashes requirements.in' >&2
      exit 1
    fi
  sync -f $venv
  touch $venv/.whole
fi
ln -s $venv venv
# A file that does not compile is the app's own affair until it is imported.
venv/bin/python -m compileall -q src node >/dev/null || true
# On disk before it counts as built: a machine that lost its power here had a release of empty files.
sync -f .
printf '%s\\n' {shlex.quote(about)} >release.json
sync -f .
cd {RELEASES}
ls -1t | tail -n +{kept + 1} | while read -r old; do
  grep -qsF "{RELEASES}/$old/" /etc/systemd/system/celery-*.service || rm -rf "./$old"
done
used=$(readlink {RELEASES}/*/venv || true)  # the venv of an old release may be a folder of its own
for one in {VENVS}/*; do
  case $used in *"$one"*) ;; *) rm -rf "$one" ;; esac
done
"""


def check_command(release: Release) -> str:
    """sh that imports the app as a worker will, with the environment that it gets as NAME=value lines on stdin.

    It prints the names of its tasks as JSON; where the import fails, the traceback's last line on stderr, and exit 1.
    """
    return _as_worker(release, "fleet_node.app.check", [release.app])


def unregistered_command(release: Release, queues: Iterable[str]) -> str:
    """sh that prints, as JSON, which tasks wait or are in flight and are none of this release's. Environment as above."""
    return _as_worker(release, "fleet_node.app.unregistered", [release.app, *queues])


def _as_worker(release: Release, module: str, arguments: Iterable[str]) -> str:
    return (
        f"cd {HOME} && exec runuser -u {USER} -- env -i PATH=/usr/bin:/bin HOME={HOME} LANG=C.UTF-8 "
        f"PYTHONPATH={release.python_path} {release.path}/venv/bin/python -m {module} {' '.join(map(shlex.quote, arguments))}"
    )
