"""What a host of the group beat gets, and when a deploy restarts it."""

import configparser
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleet.engine.run import Run
from fleet.spec.beat import Beat
from fleet.spec.fleet import Fleet
from fleet.state.desired import State
from fleet.state.role import check_watched, watched
from roles import beat, machine, worker
from tests.render.conftest import SECRETS, Pyinfra, content, file_of, run_of
from tests.render.test_role import probed

BROKER, BATCH, OTHER = "broker1.example.com", "batch1.example.com", "batch2.example.com"
UNIT, ENVIRONMENT = "/etc/systemd/system/celery-beat.service", "/etc/fleet-beat/environment"


def run_with(fleet: Fleet, *hosts: str, **given: Any) -> Run:
    """A run over the example fleet with beat on these hosts."""
    run = run_of(replace(fleet, beat_hosts=hosts, beat=Beat(**given)))
    return replace(run, roles=(*run.roles, beat))


def state_of(run: Run, host: str) -> State:
    state = beat.desired(run, run.fleet.hosts[host])
    check_watched(state, beat)
    return state


def service(state: State) -> Mapping[str, str]:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(content(state, UNIT))
    return parser["Service"]


def test_it_runs_the_workers_release_with_what_it_is_set_to(fleet: Fleet) -> None:
    given = {"scheduler": "a.b:C", "takeover": 10, "max_interval": 5, "memory_max": "300M"}
    known = {**SECRETS, "DB": "x y"}
    run = run_of(replace(fleet, beat_hosts=(BATCH,), beat=Beat.model_validate({**given, "secrets": ["DB"]})), known)
    run = replace(run, roles=(*run.roles, beat))
    state = state_of(run, BATCH)
    release = run.release_of(fleet.hosts[BATCH])
    assert service(state)["ExecStart"] == (
        f"{release.path}/venv/bin/python -m fleet_node.beat shop.app --node=beat@%H --takeover=10 "
        "--schedule=/var/lib/celery/beat/schedule --scheduler=a.b:C --max-interval=5 --loglevel=INFO"
    )
    assert service(state)["MemoryMax"] == str(300 << 20)
    environment = file_of(state, ENVIRONMENT)
    assert environment.mode == 0o600
    text = environment.content.decode()
    assert "CELERY_BROKER_URL=" in text and 'DB="x y"' in text and 'FLEET_BEAT_SCHEDULER="a.b:C"' in text


def test_it_is_hardened_as_a_worker_is(fleet: Fleet) -> None:
    run = run_with(fleet, BATCH)
    units = worker.desired(run, fleet.hosts[BATCH])
    of_worker = content(units, "/etc/systemd/system/celery-batch@1.service")
    of_beat = content(state_of(run, BATCH), UNIT)
    own = ("Description", "ReadWritePaths", "Environment", "TimeoutSt", "OOMPolicy")
    hardening = of_worker[of_worker.index("NoNewPrivileges") :].splitlines()
    missing = [line for line in hardening if not line.startswith(own) and line not in of_beat.splitlines()]
    assert missing == []


def test_the_memory_of_beat_is_not_the_workers(fleet: Fleet) -> None:
    def most(run: Run) -> int:
        return run.plan.workers[BATCH]["batch"].memory_max

    assert most(run_with(fleet)) - most(run_with(fleet, BATCH)) == 512 << 20
    assert most(run_with(fleet)) == most(run_with(fleet, OTHER))


def test_a_host_that_is_no_longer_one_loses_it(fleet: Fleet) -> None:
    assert state_of(run_with(fleet, BATCH), OTHER).only == (UNIT, ENVIRONMENT)


def test_a_change_of_the_environment_is_another_revision(fleet: Fleet) -> None:
    (one,) = {unit.revision for unit in state_of(run_with(fleet, BATCH), BATCH).units if unit.revision}
    other = run_with(fleet, BATCH, environment={"A": "1"})
    assert one not in {unit.revision for unit in state_of(other, BATCH).units}


def test_a_deploy_restarts_it_after_the_workers_and_once(fleet: Fleet, pyinfra: Pyinfra) -> None:
    more = "\nbeat = [batch[0], broker[0]]\n"
    first = pyinfra("-y", more=more)
    output = first.stdout + first.stderr
    assert first.returncode == 0, output
    began = [line.partition("operation: ")[2].strip() for line in output.splitlines() if "Starting operation: " in line]
    standby, leader = began.index("Restart a beat that stands by"), began.index("Restart the beat that leads")
    last_step = max(place for place, name in enumerate(began) if name == "Drain, restart and watch workers")
    assert last_step < standby < leader

    run = run_with(fleet, BATCH, BROKER)
    looked_at = watched((machine, worker, beat))
    assert set(probed(state_of(run, BATCH), looked_at)) >= {f"unit\tId\t{Path(UNIT).name}", "unit-end"}


def test_a_schedule_that_nobody_can_run_stops_the_deploy_before_anything(pyinfra: Pyinfra) -> None:
    described = {
        "app": "shop.app",
        "celery": "5.7.0",
        "kombu": "5.7.0",
        "schedule": ["nightly"],
        "entries": [{"name": "nightly", "task": "shop.gone", "known": False, "queues": ["default"]}],
    }
    done = pyinfra("-y", more="\nbeat = [broker[0]]\n", described=described)
    output = done.stdout + done.stderr
    assert done.returncode == 1 and "shop.gone" in output and "beat-unknown-task" in output
    assert "Starting operation: Bring up the workers" not in output


def test_a_restart_restarts_it_and_a_restart_of_a_role_does_not(pyinfra: Pyinfra) -> None:
    unit = {"Id": Path(UNIT).name, "LoadState": "loaded", "ActiveState": "active", "MainPID": "77"}
    lines = [*(f"unit\t{name}\t{value}" for name, value in unit.items()), "unit-end"]
    for data, expected in (((), True), (("--data", "role=beat"), True), (("--data", "role=web"), False)):
        done = pyinfra("-y", *data, script="restart.py", more="\nbeat = [batch[0]]\n", machine_lines=lines)
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert ("Starting operation: Restart the beat that leads" in output) == expected
