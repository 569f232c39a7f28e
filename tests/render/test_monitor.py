"""What the monitor's machine gets, and what the exporter there is told of the fleet."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fleet.capacity.balance.terms import of_plain
from fleet.engine.run import Run
from fleet.observe.drift import drift_of
from fleet.observe.status import drifts
from fleet.spec.fleet import Fleet
from fleet.spec.monitor import Monitor
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER
from fleet.state.desired import State
from fleet.state.role import check_watched
from fleet_exporter import settings
from roles import flower, monitor, node_exporter
from tests.render.conftest import SECRETS, content, file_of, run_of

HOST = "monitor1.example.com"
DROP_IN = "/etc/systemd/system/{}.service.d/fleet.conf"


def run_with(fleet: Fleet, secrets: dict[str, str] = SECRETS, **given: Any) -> Run:
    """A run over the example fleet with these settings of the monitor, on machines with host names of their own."""
    run = run_of(replace(fleet, monitor=Monitor(**given)), secrets)
    observed = {name: replace(machine, hostname=name.split(".")[0]) for name, machine in run.observed.items()}
    return replace(run, roles=(*run.roles, monitor, node_exporter), observed=observed)


def state_of(run: Run, host: str = HOST) -> State:
    """What both roles want on a host."""
    states = [role.desired(run, run.fleet.hosts[host]) for role in (monitor, node_exporter)]
    for role, state in zip((monitor, node_exporter), states, strict=True):
        check_watched(state, role)
    return sum(states, State())


def with_addresses(fleet: Fleet) -> Fleet:
    """The fleet, with an address on the LAN for each host."""
    hosts = {
        name: replace(host, settings=host.settings.model_copy(update={"lan_address": f"10.0.0.{number}"}))
        for number, (name, host) in enumerate(fleet.hosts.items(), 10)
    }
    return replace(fleet, hosts=hosts)


def test_prometheus_and_alertmanager_read_what_they_get(fleet: Fleet, tmp_path: Path) -> None:
    state = state_of(run_with(fleet, {**SECRETS, "HOOK": "https://chat.example.com/x"}, webhook="HOOK"))
    for name in ("prometheus.yml", "fleet-rules.yml", "alertmanager.yml"):
        (tmp_path / name).write_text(content(state, f"/etc/prometheus/{name}"))
    for command in (("promtool", "check", "config", "prometheus.yml"), ("amtool", "check-config", "alertmanager.yml")):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_listens_beyond_loopback_unless_asked(fleet: Fleet) -> None:
    state = state_of(run_with(fleet))
    for unit, port in (("prometheus", 9090), ("prometheus-alertmanager", 9093), ("prometheus-node-exporter", 9100)):
        assert f"--web.listen-address=127.0.0.1:{port}" in content(state, DROP_IN.format(unit))
    assert "--cluster.listen-address= " in content(state, DROP_IN.format("prometheus-alertmanager")).replace("\n", " ")
    assert settings.parse(json.loads(content(state, "/etc/fleet-exporter/fleet.json"))).address == "127.0.0.1"
    asked = state_of(run_with(with_addresses(fleet), listen="lan", node_exporter="all"))
    assert "--web.listen-address=10.0.0.18:9090" in content(asked, DROP_IN.format("prometheus"))
    prometheus = content(asked, "/etc/prometheus/prometheus.yml")
    assert '"10.0.0.18:9093"' in prometheus
    assert 'targets: ["10.0.0.11:9100"]' in prometheus


def test_flags_are_there_before_the_services_of_the_packages_start(fleet: Fleet) -> None:
    run = run_with(fleet)
    for role in (monitor, node_exporter):
        first = role.first(run, fleet.hosts[HOST])
        assert {file.path for file in first.files} == {
            file.path for file in role.desired(run, fleet.hosts[HOST]).files if file.path.endswith(".service.d/fleet.conf")
        }
        assert not first.packages


def test_secrets_are_where_only_their_reader_sees_them(fleet: Fleet) -> None:
    secrets = {**SECRETS, "HOOK": "https://chat.example.com/secret"}
    state = state_of(run_with(fleet, secrets, webhook="HOOK"))
    having = {file.path: (file.mode, file.group) for file in state.files if secrets["HOOK"].encode() in file.content}
    assert having == {"/etc/prometheus/alertmanager.yml": (0o640, "prometheus")}
    having = {file.path: (file.mode, file.group) for file in state.files if SECRETS[BROKER_MONITOR].encode() in file.content}
    assert having == {"/etc/fleet-exporter/broker-url": (0o600, "root")}


def test_the_exporter_is_told_what_the_fleet_should_be(fleet: Fleet) -> None:
    slo = {"default": 10.0}
    with_slo = {name: replace(host, settings=host.settings.model_copy(update={"slo": slo})) for name, host in fleet.hosts.items()}
    run = run_with(replace(fleet, hosts=with_slo))
    of_exporter = settings.parse(json.loads(content(state_of(run), "/etc/fleet-exporter/fleet.json")))
    assert len(of_exporter.workers) == len(run.plan.instances)
    assert of_exporter.workers[0] == settings.ExpectedWorker(("web-worker-1@web1",), "web", "web1.example.com")
    assert of_exporter.queues["default"] == settings.ExpectedQueue(run.plan.consumers["default"], 1, 10.0, ("web",))
    assert of_exporter.queues["batch"].objective is None
    assert of_exporter.lease == 60


def test_while_its_password_changes_flower_takes_both(fleet: Fleet) -> None:
    def environment(present: str, before: str) -> str:
        secrets = {**SECRETS, "FLOWER_PASSWORD": present, "FLOWER_PASSWORD_BEFORE": before}
        return content(flower.desired(run_with(fleet, secrets, flower=True), fleet.hosts[HOST]), "/etc/fleet-flower/environment")

    assert 'FLOWER_BASIC_AUTH="flower:new,flower:old"' in environment("new", "old")
    assert environment("new", "old") == environment("old", "new"), "Flower has both"


def test_flower_is_behind_tls_and_a_password(fleet: Fleet) -> None:
    secrets = {**SECRETS, "FLOWER_PASSWORD": "a password"}
    run = replace(run_with(fleet, secrets, flower=True), roles=(flower,))
    state = flower.desired(run, fleet.hosts[HOST])
    check_watched(state, flower)
    having = {file.path: file.mode for file in state.files if b"a password" in file.content}
    assert having == {"/etc/fleet-flower/environment": 0o600}
    unit = content(state, "/etc/systemd/system/fleet-flower.service")
    assert "--address=127.0.0.1" in unit
    assert "--enable_events=False" in unit
    assert "bind 127.0.0.1\n" in content(state, "/etc/caddy/Caddyfile")
    assert "https://127.0.0.1:5556 {" in content(state, "/etc/caddy/Caddyfile")
    first = {file.path for file in flower.first(run, fleet.hosts[HOST]).files}
    assert first == {"/etc/caddy/Caddyfile", "/etc/systemd/system/caddy.service.d/fleet.conf"}
    assert "FLOWER_PASSWORD" in run.fleet.secrets, "a deploy without it is refused"
    assert not flower.desired(replace(run_with(fleet), roles=(flower,)), fleet.hosts[HOST]).files


def test_what_is_sent_runs_by_itself(fleet: Fleet, tmp_path: Path) -> None:
    """With the distribution's Python, from the files that the machine gets, and no others."""
    for file in state_of(run_with(fleet)).files:
        if file.path.startswith("/opt/fleet-monitor/exporter/"):
            target = tmp_path / file.path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
    environment = {"PYTHONPATH": str(tmp_path / "opt/fleet-monitor/exporter"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["/usr/bin/python3", "-m", "fleet_exporter", "missing.json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "missing.json: FileNotFoundError(2, 'No such file or directory')\n")


def test_the_balancer_is_there_if_it_is_asked_for(fleet: Fleet, tmp_path: Path) -> None:
    slo = {
        name: replace(of, settings=of.settings.model_copy(update={"slo": {"default": 5.0}})) for name, of in fleet.hosts.items()
    }
    run = run_with(replace(fleet, hosts=slo))
    assert "fleet-balance.service" not in {unit.name for unit in state_of(run).units}
    assert "fleet-balance" not in content(state_of(run), "/etc/prometheus/prometheus.yml")
    asked = replace(run, fleet=replace(run.fleet, monitor=Monitor(balance=True)))
    state = state_of(asked)
    assert "job_name: fleet-balance" in content(state, "/etc/prometheus/prometheus.yml")
    terms = of_plain(json.loads(content(state, "/etc/fleet-balance/terms.json")))
    assert (terms["web"].objective, terms["web"].nodes[0]) == (5.0, "web-worker-1@web1")
    assert terms["batch"].takes == ("web",)
    assert "gpu works on a GPU" in (terms["gpu"].refused or {}).values()
    password = quote(SECRETS[BROKER_WORKER], safe="").encode()
    having = {file.path: file.mode for file in state.files if password in file.content}
    assert having == {"/etc/fleet-balance/broker-url": 0o600}
    for file in state.files:
        if file.path.startswith("/opt/fleet-monitor/exporter/"):
            target = tmp_path / file.path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
    environment = {"PYTHONPATH": str(tmp_path / "opt/fleet-monitor/exporter"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["/usr/bin/python3", "-m", "fleet_balancer", "missing.json", "terms.json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "missing.json, terms.json: FileNotFoundError(2, 'No such file or directory')\n")


@pytest.mark.parametrize(
    ("change", "restarts"),
    [
        (lambda fleet: replace(fleet, monitor=Monitor(alerts={"restarts": 5})), {"prometheus.service"}),  # type: ignore[arg-type]
        (lambda fleet: replace(fleet, monitor=Monitor(scrape_seconds=30)), {"prometheus.service"}),
        (lambda fleet: replace(fleet, broker=fleet.broker.model_copy(update={"port": 6380})), {"fleet-exporter.service"}),
    ],
)
def test_a_change_restarts_what_it_is_of(fleet: Fleet, change: Callable[[Fleet], Fleet], restarts: set[str]) -> None:
    def revisions(fleet: Fleet) -> dict[str, str | None]:
        run = replace(run_of(fleet), roles=(monitor, node_exporter))
        return {unit.name: unit.revision for unit in state_of(run).units}

    before, after = revisions(fleet), revisions(change(fleet))
    assert {name for name in before if before[name] != after[name]} == restarts


def test_other_machines_have_none_of_it(fleet: Fleet) -> None:
    state = state_of(run_with(fleet), "web1.example.com")
    assert (state.packages, state.files, state.units) == ((), (), ())
    of_balancer = ("/etc/systemd/system/fleet-balance.service", "/etc/fleet-balance/terms.json", "/etc/fleet-balance/broker-url")
    assert state.only == ("/etc/systemd/system/fleet-exporter.service", *of_balancer), "what an earlier monitor left goes"


def test_an_alertmanager_of_your_own(fleet: Fleet, tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_text("route: {receiver: mail}\n")
    state = state_of(run_with(fleet, alertmanager_file=str(own)))
    assert file_of(state, "/etc/prometheus/alertmanager.yml").content == own.read_bytes()


def test_a_run_on_some_machines_does_not_know_what_to_expect(fleet: Fleet) -> None:
    run = run_with(fleet)
    assert monitor.is_whole(run)
    assert not monitor.is_whole(replace(run, observed={HOST: run.observed[HOST]}))


def test_the_monitor_is_not_compared_while_a_machine_with_workers_is_silent(fleet: Fleet) -> None:
    run = run_with(fleet)
    machines = {name: machine for name, machine in run.observed.items() if name != "web1.example.com"}
    differing, unclear = drifts(
        run.plan, run.secrets, machines, lambda view, host: drift_of(view, (monitor, node_exporter), view.fleet.hosts[host])
    )
    assert unclear == {HOST: "the exporter has to know all workers, and web1.example.com did not answer"}
    assert HOST not in differing
