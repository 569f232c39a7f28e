"""Beat, at the edge: it is restarted last, with the release, and the one that leads after those that stand by."""

from __future__ import annotations

from dataclasses import replace

from pyinfra.context import host
from pyinfra.operations import server

from fleet.engine import apply
from fleet.engine.refusal import refusing
from fleet.engine.run import Run
from fleet.spec.groups import BEAT
from fleet.state import beat_restart
from fleet.state.diff import compare
from fleet.state.paths import BEAT_UNIT
from fleet.state.role import Role
from fleet.state.systemctl import activate


def bring(run: Run, role: Role) -> None:
    """Declare beat as it should be on its hosts. A host that is no longer one loses it."""
    local = run.fleet.hosts[host.name]
    with refusing():
        desired = run.desired(role, local)
        changes = compare(desired, run.observed[local.name])
    apply.describe(changes)
    if changes:
        run.changed.add(local.name)
    if is_due := BEAT_UNIT in (*changes.start, *changes.restart):
        release = run.release_of(local)
        server.shell(name="Check that the release has beat", commands=[beat_restart.check(release.path, release.id)])
    apply.perform(replace(changes, start=(), restart=()))
    revision = next((unit.revision for unit in desired.units if unit.name == BEAT_UNIT), None)
    _restart(run, is_due, revision)
    if targets := [name for name in changes.start if not name.endswith(".service")]:
        server.shell(name="Start services", commands=[activate("start", targets)])


def restart(run: Run, role: str | None) -> None:
    """Declare that every beat that runs is restarted as it is, unless the role `role` of workers is named."""
    unit = run.observed[host.name].units.get(BEAT_UNIT)
    _restart(run, role in (None, BEAT) and unit is not None and unit.active, None)


def _restart(run: Run, is_due: bool, revision: str | None) -> None:
    if not run.fleet.beat_hosts:
        return
    unit = run.observed[host.name].units.get(BEAT_UNIT)
    if is_due:
        run.changed.add(host.name)
        run.planned[f"{host.name}:beat"] = None
    # Phases are barriers only if every host has them.
    apply.phase(name="Beats that stand by")
    if is_due:
        server.shell(name="Restart a beat that stands by", commands=[beat_restart.standby()])
    apply.phase(name="The beat that leads")
    if is_due:
        pid = unit.pid if unit else 0
        server.shell(name="Restart the beat that leads", commands=[beat_restart.leader(revision, pid)])
