"""What a run decides from what it knows, without pyinfra."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fleet.engine import checks
from fleet.engine.driver import underserved_without
from fleet.engine.run import Run
from fleet.errors import FleetError
from fleet.lint import Finding
from fleet.rollout.result import LOST, HostResult
from fleet.rollout.steps import Step, plan_steps
from fleet.rollout.target import KnownRelease
from fleet.spec.broker import External
from fleet.spec.fleet import Fleet
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER
from fleet.state.desired import File
from fleet.state.diff import Changes
from fleet.state.observed import ObservedMachine, ObservedPath, RunningUnit
from fleet.state.paths import BEAT_UNIT
from fleet_node.protocol import STEP_MARK
from tests.unit.fleet_support import fleet_of, make_app, plan_of

WEB: dict[str, Any] = {"queues": ["default"], "workload": "io", "instances": 1}
MACHINE = ObservedMachine(memory=4 << 30, cores=4, python="3.11", os="debian 12")
UP = RunningUnit(active=True, enabled=True, stale=False, release="old")


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    return fleet_of({"web": WEB})


def run_of(fleet: Fleet, **machines: ObservedMachine) -> Run:
    secrets = {BROKER_WORKER: "secret", BROKER_MONITOR: "secret"}
    return Run(fleet, secrets, (), {**dict.fromkeys(fleet.hosts, MACHINE), **machines}, plan_of(fleet))


def file(path: str) -> dict[str, ObservedPath]:
    return {path: ObservedPath("f", "root", "root", 0o644)}


def test_the_sources_make_the_release_once(fleet: Fleet, tmp_path: Path) -> None:
    run = run_of(fleet)
    release = run.release_of(fleet.hosts["web1"])
    assert release is run.release_of(fleet.hosts["web2"])
    assert (release.app, release.protocol) == ("shop.app", 1)
    assert any(entry.path == "/protocol-1" for entry in release.files)
    assert run.brought() == {"releases": {"3.11": release.id}, "app": "shop.app"}
    # Another run reads the sources anew.
    (tmp_path / "app" / "more.py").write_text("")
    assert run_of(fleet).release_of(fleet.hosts["web1"]).id != release.id


def test_a_history_that_stays_behind_is_noted(fleet: Fleet) -> None:
    new, old, no_run = MACHINE, replace(MACHINE, history="123 45"), replace(MACHINE, history="none")
    records, other = fleet.records_host, "web2"
    assert checks.moved_records(fleet, {records: new, other: no_run}) == ""
    assert checks.moved_records(fleet, {records: old, other: old}) == ""
    assert checks.moved_records(fleet, {other: old}) == ""  # of --limit
    for machine in (new, no_run):
        assert f"are on {records} from now on, and were on web2" in checks.moved_records(fleet, {records: machine, other: old})


def test_a_beat_without_a_lock_does_not_begin_while_another_may_run(fleet: Fleet) -> None:
    beat = replace(fleet, beat_hosts=("web1",), external_scheme="amqp")
    rabbitmq = replace(beat, broker_host=None, broker=External.model_validate({"url": "@BROKER_URL"}))
    here, everywhere = {"web1": MACHINE}, dict.fromkeys(fleet.hosts, MACHINE)
    with pytest.raises(FleetError, match="web1: has no beat yet, and a machine that --limit leaves out may have one"):
        checks.refuse_second_beat(rabbitmq, here)
    checks.refuse_second_beat(rabbitmq, everywhere)
    checks.refuse_second_beat(rabbitmq, {"web1": replace(MACHINE, units={BEAT_UNIT: UP})})
    checks.refuse_second_beat(rabbitmq, {"web2": MACHINE})
    checks.refuse_second_beat(replace(fleet, beat_hosts=("web1",)), here)


def test_a_target_has_to_be_on_the_machine(fleet: Fleet) -> None:
    target = KnownRelease((("3.11", "abc"),), "shop.app", "2026-11-21T12:00:00Z", "done")
    there = replace(MACHINE, paths=file("/opt/fleet/releases/abc/release.json") | file("/opt/fleet/releases/abc/protocol-1"))
    before = replace(MACHINE, paths=file("/opt/fleet/releases/abc/release.json"))
    run = run_of(fleet, web1=there, web2=before)
    run.target = target
    assert run.release_of(fleet.hosts["web1"]).protocol == 1
    assert run.release_of(fleet.hosts["web2"]).protocol == 0
    run = run_of(fleet)
    run.target = target
    with pytest.raises(FleetError, match=r"web1: release abc .* is not on this machine"):
        run.release_of(fleet.hosts["web1"])


def test_a_distribution_that_is_unknown_is_named(fleet: Fleet) -> None:
    run = run_of(fleet, web1=ObservedMachine(os="plan 9"))
    with pytest.raises(FleetError, match="web1: no python3, and which one plan 9 installs is not known"):
        run.release_of(fleet.hosts["web1"])


def test_a_restart_is_with_the_release_that_runs(fleet: Fleet) -> None:
    run = run_of(fleet, web1=replace(MACHINE, units={"celery-web@1.service": UP}))
    assert run.running_releases(fleet.hosts["web1"])["web"].id == "old"
    assert run.running_releases(fleet.hosts["web2"])["web"] == run.release_of(fleet.hosts["web2"])


@pytest.mark.parametrize(
    ("failed", "interrupted", "well", "outcome"),
    [
        (False, False, True, "done"),
        (True, False, True, "failed"),
        (False, False, False, "failed"),
        (True, True, False, "interrupted"),
    ],
)
def test_how_a_run_ended(fleet: Fleet, failed: bool, interrupted: bool, well: bool, outcome: str) -> None:
    run = run_of(fleet)
    rollout = run.plan_rollout(plan_steps(run.plan.instances, (), run.plan))
    for step in rollout.steps:
        rollout.results.record(step, step.hosts[0], HostResult(well, [], ["why"]))
    run.interrupted = interrupted
    run.planned["web1:web@1"] = None
    run.errors["web1: Build the release: failed"] = None
    entry = run.history_entry(failed, 1.234)
    assert (entry["outcome"], entry["seconds"], entry["planned"]) == (outcome, 1.2, ["web1:web@1"])
    assert entry["errors"] == ["web1: Build the release: failed"]
    assert [step["instances"] for step in entry["steps"]] == [["web1:web@1"], ["web2:web@1"]]
    assert {host["ok"] for step in entry["steps"] for host in step["hosts"].values()} == {well}


@dataclass
class Operation:
    """What pyinfra keeps of an operation on a host."""

    stdout: str = ""
    complete: bool = False
    stderr: str = ""

    def is_complete(self) -> bool:
        return self.complete


def test_an_interrupted_run_records_what_was_begun(fleet: Fleet) -> None:
    """The machines finish their step; whether they did is not known for those that had not reported."""
    run = run_of(fleet)
    rollout = run.plan_rollout([Step(run.plan.instances), Step(run.plan.instances, canary=True)])
    well = STEP_MARK + '{"ok": true, "put_back": false, "units": {}, "notes": [], "seconds": {}}'
    first, second = Operation(well, complete=True), Operation()
    for step in rollout.steps:
        run.pending[step, "web1"], run.pending[step, "web2"] = first, second
        if step.canary:
            run.pending[step, "web1"] = Operation()  # not begun
            run.pending[step, "web2"] = Operation()
    run.begun |= {id(first), id(second)}
    run.interrupted = True
    for step in rollout.steps:
        run.collect(step)
    began, not_begun = run.history_entry(False, 1)["steps"]
    assert {name: host["ok"] for name, host in began["hosts"].items()} == {"web1": True, "web2": False}
    assert not_begun["hosts"] == {}
    assert {row[0]: row[3] for row in rollout.results.table()} == {"web1": "new", "web2": LOST}


def test_a_run_that_restarts_nobody_has_gone_well(fleet: Fleet) -> None:
    assert run_of(fleet).history_entry(False, 0)["outcome"] == "done"


def test_what_is_said_to_many_hosts_is_noted_once(fleet: Fleet) -> None:
    run = run_of(fleet)
    finding = Finding("a-rule", "warning", "web_worker.queues", "is odd")
    run.note_findings("deploy", [finding, finding])
    run.note_findings("deploy: shop.app", [finding])
    assert {look: list(findings) for look, findings in run.findings.items()} == {
        "deploy": [finding],
        "deploy: shop.app": [finding],
    }


def test_data_that_a_script_does_not_read_is_refused() -> None:
    checks.refuse_data({"role": None, "release": "abc"}, ["release", "discard_tasks"])
    with pytest.raises(FleetError, match="role: this script takes none by --data; it takes release and discard_tasks"):
        checks.refuse_data({"role": "web"}, ["release", "discard_tasks"])
    with pytest.raises(FleetError, match="--limit names hosts"):
        checks.refuse_data({"role": "web"}, [])


def test_a_machine_that_does_not_say_what_it_has_is_refused() -> None:
    checks.refuse_silence({"web1": MACHINE})
    with pytest.raises(FleetError, match="web2, web3: does not say what it has"):
        checks.refuse_silence({"web1": MACHINE, "web2": None, "web3": ObservedMachine(cores=4)})


def test_namesakes_are_refused(fleet: Fleet) -> None:
    same = replace(MACHINE, hostname="same")
    checks.refuse_namesakes(fleet, {"web1": same, "broker1": same})
    with pytest.raises(FleetError, match="web1, web2: both call themselves same"):
        checks.refuse_namesakes(fleet, {"web1": same, "web2": same})


def test_a_broken_rule_is_refused_and_a_silenced_one_is_not() -> None:
    error = Finding("a-rule", "error", "web_worker.queues", "is wrong")
    with pytest.raises(FleetError, match=r"1 mistake\(s\) across the settings, nothing was changed:\n    web_worker.queues"):
        checks.refuse_findings([error])
    checks.refuse_findings([replace(error, silenced="known"), replace(error, level="warning")])


def test_the_broker_has_its_address(fleet: Fleet) -> None:
    checks.refuse_foreign_address(fleet, "broker1", replace(MACHINE, addresses=("10.0.0.10",)))
    checks.refuse_foreign_address(fleet, "broker1", MACHINE)  # it does not say
    with pytest.raises(FleetError, match=r"broker1.lan_address: 10.0.0.10 is no address of this machine \(10.0.0.9\)"):
        checks.refuse_foreign_address(fleet, "broker1", replace(MACHINE, addresses=("10.0.0.9",)))


def test_the_broker_shows_what_all_machines_trust() -> None:
    authorities = "/etc/redis/tls/ca.pem"
    new, gone = Changes(write=(File(authorities, b"new"),)), Changes(remove=(authorities,))
    renewed = Changes(write=(File("/etc/redis/tls/broker.pem", b"new"),))  # by an authority that all know
    checks.refuse_new_authority("broker1", new, authorities, is_whole=True)
    checks.refuse_new_authority("broker1", renewed, authorities, is_whole=False)
    for changes in (new, gone):
        with pytest.raises(FleetError, match="broker1: workers on machines that --limit leaves out would not trust"):
            checks.refuse_new_authority("broker1", changes, authorities, is_whole=False)


def test_a_port_stays_open_as_long_as_workers_use_it(fleet: Fleet) -> None:
    authorities = "/etc/redis/tls/ca.pem"
    encrypted = replace(MACHINE, paths={authorities: ObservedPath("f", "root", "redis", 0o640)})
    checks.refuse_closed_port("broker1", MACHINE, "both", authorities, workers=True)
    checks.refuse_closed_port("broker1", MACHINE, tls=True, authorities=authorities, workers=False)
    checks.refuse_closed_port("broker1", encrypted, tls=True, authorities=authorities, workers=True)
    with pytest.raises(FleetError, match=r'broker1: the workers that run use the plain port.*write "tls": "both"'):
        checks.refuse_closed_port("broker1", MACHINE, tls=True, authorities=authorities, workers=True)
    checks.refuse_closed_port("broker1", encrypted, tls=False, authorities=authorities, workers=False)
    checks.refuse_closed_port("broker1", MACHINE, tls=False, authorities=authorities, workers=True)
    with pytest.raises(FleetError, match=r"broker1: the workers that run use TLS.*stop them first"):
        checks.refuse_closed_port("broker1", encrypted, tls=False, authorities=authorities, workers=True)
    assert not run_of(fleet, broker1=replace(MACHINE, units={BEAT_UNIT: UP, "redis-server.service": UP})).workers_run
    assert run_of(fleet, web1=replace(MACHINE, units={"celery-web@1.service": UP})).workers_run


def test_a_machine_that_nobody_can_spare_is_named_by_its_queues(fleet: Fleet) -> None:
    both = replace(MACHINE, units={"celery-web@1.service": UP})
    run = run_of(fleet, web1=both)
    assert underserved_without("web1", run.plan, run.observed) == []  # web2 has the queue, too
    single = run_of(fleet_of({"web": WEB}, hosts_a_role=1), web1=both)
    assert underserved_without("web1", single.plan, single.observed) == ["default"]
    assert underserved_without("web1", single.plan, {**single.observed, "web1": MACHINE}) == []  # it serves nobody now


GROUPS = {"broker": ["broker1"], "web": ["web1", "web2", "web3"], "batch": ["batch1", "batch2"], "gpu": ["web3", "gpu 1"]}
EVERYBODY = ["broker1", "web1", "web2", "web3", "batch1", "batch2", "gpu 1"]


@pytest.mark.parametrize(
    ("down", "asked", "expected"),
    [
        (["web1"], EVERYBODY, "it: --limit batch --limit gpu --limit broker1 --limit web2"),
        (["batch1", "web1"], EVERYBODY, "them: --limit gpu --limit broker1 --limit web2 --limit batch2"),
        (["gpu 1"], EVERYBODY, "it: --limit web --limit batch --limit broker1"),
        (["web1"], ["web1", "web2", "gpu 1"], "it: --limit web2 --limit 'gpu 1'"),
    ],
)
def test_how_to_go_on_without_a_machine_that_is_down(down: list[str], asked: list[str], expected: str) -> None:
    explained = checks.explain_down(down, asked, GROUPS)
    assert explained == f"{', '.join(down)}: no connection, and nothing was changed; to go on without {expected}"


def test_no_run_goes_on_without_the_broker_or_the_history() -> None:
    down = ["web1", "broker1"]
    assert "no run is without broker1, which has the lock" in checks.explain_down(down, EVERYBODY, GROUPS, "broker1")
    assert "no run is without web1, which has the lock" in checks.explain_down(down, EVERYBODY, GROUPS, "web1")
    assert "no run is without broker1, which is the broker" in checks.explain_down(["broker1"], EVERYBODY, GROUPS, "web1")
    of_three = {**GROUPS, "broker": ["broker1", "web2", "gpu 1"]}
    assert "--limit" in checks.explain_down(["broker1"], EVERYBODY, of_three, "web1"), "the other two nodes go on"
