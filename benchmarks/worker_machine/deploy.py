"""deploy.py for a worker machine, below a directory of its own: benchmarks/README.md says what is left out.

pyinfra runs this for benchmarks/deploy.py. FLEET_BENCH names the folder that has a directory for each host.
"""

import os
import shlex
from dataclasses import replace
from getpass import getuser
from grp import getgrgid

from pyinfra.context import host

from fleet.engine import apply, start
from fleet.state import observed
from fleet.state.desired import State
from fleet.state.observed import Watched
from roles import broker, machine, worker

OWNER, GROUP = getuser(), getgrgid(os.getgid()).gr_name
DESTDIR = f"{os.environ['FLEET_BENCH']}/{host.name}"


class Probe(start.Probe):
    """The engine's own probe, of a machine that lies below a directory."""

    def command(self, watched: Watched) -> str:
        destdir = f"{os.environ['FLEET_BENCH']}/{host.name}"
        return "sh -c " + shlex.quote(observed.command(replace(watched, users=(OWNER,)), destdir))


start.Probe = Probe  # type: ignore[misc]


def below(state: State) -> State:
    """`state` below DESTDIR, owned by whoever runs this, without the user and the units."""

    return replace(
        state,
        users=(),
        units=(),
        directories=tuple(replace(entry, path=DESTDIR + entry.path, owner=OWNER, group=GROUP) for entry in state.directories),
        files=tuple(replace(entry, path=DESTDIR + entry.path, owner=OWNER, group=GROUP) for entry in state.files),
        only=tuple(DESTDIR + pattern for pattern in state.only),
    )


run = start.start(machine, broker, worker)
local = run.fleet.hosts[host.name]

apply.bring(below(machine.desired(run, local)), run.observed[host.name])
workers = worker.desired(run, local)

apply.phase(name="Bring up the broker")

apply.phase(name="Bring up the workers")
apply.bring(below(workers), run.observed[host.name])
