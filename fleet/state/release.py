"""A release: the app's source, its requirements and `fleet_node`, in a directory that is built once and never changed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from fleet.errors import FleetError
from fleet.spec import pins
from fleet.spec.fleet import Host
from fleet.spec.requirements import merge
from fleet.spec.settings import Settings
from fleet.spec.source import source_files
from fleet.state.archive import pack, unpack_command
from fleet.state.desired import Directory, File
from fleet.state.observed import ObservedMachine
from fleet.state.paths import HOME, RELEASES, UNITS, USER, VENVS
from fleet_node.protocol import PROTOCOL

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
POOL_PACKAGES = ("gevent", "eventlet")
ENVIRONMENT = 1
"""Counts changes in how a venv is made."""
_DISTRIBUTION_PYTHON = {"debian 12": "3.11", "debian 13": "3.13", "ubuntu 24.04": "3.12"}


def python_of(observed: ObservedMachine) -> str:
    """The Python that a machine has, or will have once the packages are there. ValueError for an unknown distribution."""
    python = observed.python or _DISTRIBUTION_PYTHON.get(observed.os)
    if python is None:
        known = ", ".join(_DISTRIBUTION_PYTHON)
        raise ValueError(
            f"no python3, and which one {observed.os or 'this system'} installs is not known (known: {known}); install it"
        )
    return python


@dataclass(frozen=True)
class Release:
    """A release. files: what the control machine builds it from, with paths relative to the release's directory; none for a
    release that is on the machines already. protocol: the `fleet_node.protocol` that its fleet_node speaks; 0 if it has none.
    """

    id: str
    app: str
    files: tuple[File, ...] = ()
    protocol: int = PROTOCOL

    @property
    def path(self) -> str:
        """Its directory on a machine."""
        return f"{RELEASES}/{self.id}"

    @property
    def python_path(self) -> str:
        """PYTHONPATH of everything that runs in it."""
        return f"{self.path}/src:{self.path}/node"

    def is_built(self, observed: ObservedMachine) -> bool:
        """Whether the machine has it, whole: release.json is written last."""
        return f"{self.path}/release.json" in observed.paths

    def archive(self) -> bytes:
        """What travels to a machine to build it there."""
        folders = {str(parent) for file in self.files for parent in Path(file.path).parents}
        return pack([*(Directory(folder) for folder in folders if folder != "/"), *self.files], destdir=self.path)


def on_machine(identity: str, app: str, observed: ObservedMachine) -> Release:
    """A release that an earlier run has brought to a machine. Whether it is still there: `Release.is_built`."""
    markers = (path.rpartition("/protocol-")[2] for path in observed.paths if path.startswith(f"{RELEASES}/{identity}/protocol-"))
    return Release(identity, app, (), next((int(number) for number in markers if number.isdecimal()), 0))


def of(settings: Settings, pools: tuple[str, ...], python: str) -> Release:
    """The release that the sources make for machines with this Python (`3.11`). Its id is the hash of all that goes in.

    Raises OSError for a source that cannot be read.
    """
    source = Path(settings.app_source)
    requirements = merge(
        pins.text_of(source / settings.app_requirements),
        ((REQUIREMENTS / f"{pool}.txt").read_text() for pool in POOL_PACKAGES if pool in pools),
    )
    files = [
        *_tree(source, "/src", settings.app_exclude),
        *_tree(ROOT / "fleet_node", "/node/fleet_node", ["__pycache__"]),
        File("/requirements.txt", requirements.encode()),
        File("/uv.txt", (REQUIREMENTS / "uv.txt").read_bytes()),
        File(f"/protocol-{PROTOCOL}", b""),
    ]
    digest = sha256(python.encode())
    for file in sorted(files, key=lambda file: file.path):
        digest.update(f"\0{file.path}\0{file.mode:o}\0{file.digest}".encode())
    return Release(digest.hexdigest()[:12], settings.celery_app, tuple(files))


@dataclass
class Sources:
    """The releases that the sources of apps make. Each source is read once."""

    _made: dict[tuple[object, ...], Release] = field(default_factory=dict)

    def release_for(self, host: Host, observed: ObservedMachine, pools: tuple[str, ...]) -> Release:
        """The release of a host. pools: of the whole fleet. Raises FleetError if its Python is not known."""
        settings, python = host.settings, python_on(host.name, observed)
        key = (settings.celery_app, settings.app_source, settings.app_requirements, tuple(settings.app_exclude), python)
        if key not in self._made:
            self._made[key] = of(settings, pools, python)
        return self._made[key]


def python_on(name: str, observed: ObservedMachine) -> str:
    """The same as python_of, of a host by name. Raises FleetError."""
    try:
        return python_of(observed)
    except ValueError as error:
        raise FleetError(f"{name}: {error}") from None


def _tree(top: Path, prefix: str, exclude: Sequence[str]) -> Iterator[File]:
    for file in source_files(top, exclude):
        yield File(f"{prefix}/{file.name}", file.path.read_bytes(), 0o755 if file.executable else 0o644)


def build_command(release: Release, retained: int) -> str:
    """sh that builds the release from its archive on stdin (base64), and then removes the oldest releases above `retained`.

    A release that a unit file names stays. release.json is written last: a build that is cut short starts anew.
    """
    uv_version = re.search(rb"^uv==(\S+)", (REQUIREMENTS / "uv.txt").read_bytes(), re.MULTILINE)
    assert uv_version is not None  # noqa: S101 - our own file
    uv_home = f"/opt/fleet/uv-{uv_version[1].decode()}"
    about = json.dumps({"id": release.id, "app": release.app})
    return f"""set -eu
umask 022
rm -rf {release.path}
{unpack_command("-p")}
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
ls -1t | tail -n +{retained + 1} | while read -r old; do
  grep -qsF "{RELEASES}/$old/" {UNITS}/celery-*.service || rm -rf "./$old"
done
used=$(readlink {RELEASES}/*/venv || true)  # the venv of an old release may be a folder of its own
for venv in {VENVS}/*; do
  case $used in *"$venv"*) ;; *) rm -rf "$venv" ;; esac
done
"""


def check_command(release: Release) -> str:
    """sh that imports the app as a worker will, with the worker's environment as NAME=value lines on stdin.

    It prints an AppDescription. If the import fails, it prints the traceback's last line on stderr and exits with 1.
    """
    return _as_worker(release, "check", [release.app])


def unregistered_command(release: Release, queues: Iterable[str]) -> str:
    """sh that prints which tasks wait or are in flight and are unknown to this release (UnregisteredTasks). stdin: as above."""
    return _as_worker(release, "unregistered", [release.app, *queues])


def hook_command(release: Release, command: str, seconds: int) -> str:
    """sh that runs a hook in the folder of the app's code. stdin: as above."""
    return _as_worker(release, "hook", [str(seconds), f"cd {release.path}/src && {{ {command}\n}}"])


def retire_command(release: Release, nodes: Iterable[str]) -> str:
    """sh that gives back what these workers held, if they are gone, and prints RetiredWorkers. stdin: as above."""
    return _as_worker(release, "retire", [release.app, *nodes])


def _as_worker(release: Release, program: str, arguments: Iterable[str]) -> str:
    # Releases from before protocol 1 have these programs at the top. Delete the difference with fleet/rollout/legacy.py.
    module = f"fleet_node.app.{program}" if release.protocol else f"fleet_node.{program}"
    return (
        f"cd {HOME} && exec runuser -u {USER} -- env -i PATH=/usr/bin:/bin HOME={HOME} LANG=C.UTF-8 "
        f"PYTHONPATH={release.python_path} {release.path}/venv/bin/python -m {module} {' '.join(map(shlex.quote, arguments))}"
    )
