"""What every machine has: the user that workers run as, the directories, the slice that caps them, the target that holds them."""

from __future__ import annotations

from fleet.plan.plan import reserve_of
from fleet.spec.fleet import Host
from fleet.state.desired import Directory, File, State, User
from fleet.state.paths import ETC, HOME, RELEASES, USER
from fleet.state.paths import UNITS as UNIT_FOLDER
from fleet.state.render import render
from fleet.state.role import RunView
from fleet_node.protocol import STATE_FOLDER

PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
USERS = (USER,)
SLICE, TARGET = f"{UNIT_FOLDER}/fleet.slice", f"{UNIT_FOLDER}/fleet.target"
PATHS = ("/opt/fleet", RELEASES, STATE_FOLDER, HOME, ETC, SLICE, TARGET)
UNITS = ("fleet.slice", "fleet.target")


def desired(run: RunView, host: Host) -> State:
    """The state of any machine of the fleet, with or without workers."""
    observed = run.observed[host.name]
    cap = observed.memory - reserve_of(run.fleet, host, observed.facts)
    return State(
        packages=PACKAGES,
        users=(User(USER, HOME),),
        directories=(
            Directory("/opt/fleet"),
            Directory(RELEASES),
            Directory(STATE_FOLDER, mode=0o750),
            Directory(HOME, mode=0o750, owner=USER, group=USER),
            # Closed to others, so that no file in it is readable for the moment between its making and its chmod.
            Directory(ETC, mode=0o750, group=USER),
        ),
        files=(
            File(SLICE, render("etc/systemd/system/fleet.slice.j2", memory_max=cap)),
            File(TARGET, render("etc/systemd/system/fleet.target.j2")),
        ),
    )
