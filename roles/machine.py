"""What every machine has: the user that workers run as, the directories, the slice that caps them, the target that holds them."""

from __future__ import annotations

from fleet.plan.plan import Plan, reserve_of
from fleet.spec.fleet import Host
from fleet.state.desired import Directory, File, State, User
from fleet.state.observed import RELEASES, ObservedMachine
from fleet.state.render import render

USER = "celery"
HOME = "/var/lib/celery"
ETC = "/etc/fleet"
PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
_DISTRIBUTION_PYTHON = {"debian 12": "3.11", "debian 13": "3.13", "ubuntu 24.04": "3.12"}


def python(seen: ObservedMachine) -> str:
    """The Python that a machine has, or will have once the packages are there. ValueError for a distribution unknown here."""
    found = seen.python or _DISTRIBUTION_PYTHON.get(seen.os)
    if found is None:
        known = ", ".join(_DISTRIBUTION_PYTHON)
        raise ValueError(
            f"no python3, and which one {seen.os or 'this system'} installs is not known (known: {known}); install it"
        )
    return found


def desired(plan: Plan, host: Host, seen: ObservedMachine) -> State:
    """The state of any machine of the fleet, with or without workers."""
    cap = seen.memory - reserve_of(plan.fleet, host, seen.facts)
    return State(
        packages=PACKAGES,
        users=(User(USER, HOME),),
        directories=(
            Directory("/opt/fleet"),
            Directory(RELEASES),
            Directory("/var/lib/fleet", mode=0o750),
            Directory(HOME, mode=0o750, owner=USER, group=USER),
            # Closed to others, so that no file in it is readable for the moment between its making and its chmod.
            Directory(ETC, mode=0o750, group=USER),
        ),
        files=(
            File("/etc/systemd/system/fleet.slice", render("etc/systemd/system/fleet.slice.j2", memory_max=cap)),
            File("/etc/systemd/system/fleet.target", render("etc/systemd/system/fleet.target.j2")),
        ),
    )
