"""A role of somebody's own: it is deployed, and the next run finds nothing to change."""

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace

import pytest

from fleet.errors import FleetError
from fleet.spec.fleet import Fleet
from fleet.state.desired import Directory, State, User
from fleet.state.observed import Watched
from fleet.state.role import check_watched, watched
from roles import broker, driver, gpu, machine, worker
from tests.render import exporter
from tests.render.conftest import ROOT, Pyinfra, run_of

DEPLOY = "tests/render/exporter_deploy.py"
WEB = "web1.example.com"


def probed(state: State, looked_at: Watched) -> list[str]:
    """The lines that the probe prints of a machine in this state: of what it looks at, and of nothing else."""
    lines = [f"package\t{name}\tinstalled" for name in state.packages if name in looked_at.packages]
    lines += [f"user\t{user.name}" for user in state.users if user.name in looked_at.users]
    for entry in state.entries:
        if any(fnmatchcase(entry.path, pattern.rstrip("/")) for pattern in looked_at.paths):
            kind = "d" if isinstance(entry, Directory) else "f"
            lines.append(f"path\t{kind}\t{entry.owner}\t{entry.group}\t{entry.mode:o}\t{entry.path}")
            lines += [] if isinstance(entry, Directory) else [f"digest\t{entry.digest}\t{entry.path}"]
    for unit in state.units:
        if any(fnmatchcase(unit.name, pattern) for pattern in looked_at.units):
            properties = {"Id": unit.name, "LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}
            lines += [f"unit\t{name}\t{value}" for name, value in {**properties, "Revision": unit.revision or ""}.items()]
            lines.append("unit-end")
    return lines


def test_a_role_of_fewer_than_forty_lines_is_deployed_once(fleet: Fleet, pyinfra: Pyinfra) -> None:
    assert len((ROOT / "tests/render/exporter.py").read_text().splitlines()) < 40
    first = pyinfra("-y", script=DEPLOY)
    output = first.stdout + first.stderr
    assert first.returncode == 0, output
    for name in ("Install Debian packages", "Write changed files", "Reload systemd", "Start services"):
        assert f"Starting operation: {name}" in output
    assert "start prometheus-node-exporter.service" in output

    roles = (machine, exporter)
    run = replace(run_of(fleet), roles=roles)
    lines: list[str] = []
    for name in (WEB, fleet.records_host):
        state = run.desired(machine, fleet.hosts[name]) + run.desired(exporter, fleet.hosts[name])
        lines += [line for line in probed(state, watched(roles)) if line not in lines]
    second = pyinfra("-y", script=DEPLOY, machine_lines=lines)
    output = second.stdout + second.stderr
    assert second.returncode == 0, output
    assert "exporter" not in output.replace(DEPLOY, "").replace("exporter_deploy", "")
    assert "Starting operation: Write changed files" not in output
    assert "Starting operation: Start services" not in output


@pytest.mark.parametrize(
    ("constant", "value"),
    [("PATHS", exporter.OVERRIDE), ("UNITS", exporter.UNIT), ("PACKAGES", "prometheus-node-exporter")],
)
def test_what_a_role_does_not_list_is_refused(fleet: Fleet, constant: str, value: str) -> None:
    """It would be written again, and its service restarted, in every deploy."""
    face = {name: getattr(exporter, name) for name in ("PACKAGES", "PATHS", "UNITS", "desired")}
    forgetful = SimpleNamespace(__name__="exporter", **{**face, constant: ()})
    with pytest.raises(FleetError, match=rf"exporter\.{constant}: add '{value}'"):
        replace(run_of(fleet), roles=(forgetful,)).desired(forgetful, fleet.hosts[WEB])


def test_a_role_that_the_run_was_not_handed_is_refused(fleet: Fleet) -> None:
    """The probe would look at nothing of it."""
    with pytest.raises(FleetError, match=r"exporter.*: the probe does not know this role; hand it to start\(\)"):
        run_of(fleet).desired(exporter, fleet.hosts[WEB])


def test_a_file_below_a_listed_directory_is_not_watched_by_that() -> None:
    state = State(directories=(Directory("/etc/fleet"), Directory("/etc/fleet/more")))
    with pytest.raises(FleetError, match=r"roles\.machine\.PATHS: add '/etc/fleet/more'"):
        check_watched(state, machine)
    with pytest.raises(FleetError, match=r"roles\.machine\.USERS: add 'somebody'"):
        check_watched(State(users=(User("somebody", "/home"),)), machine)


def test_every_role_lists_what_it_asks_for(fleet: Fleet) -> None:
    run = run_of(fleet)
    for role in (machine, worker, gpu, broker, driver):
        for host in fleet.hosts.values():
            check_watched(role.desired(run, host), role)
    assert Path(worker.UNIT_FILES).name in worker.UNITS
