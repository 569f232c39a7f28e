"""A RabbitMQ of the fleet's own: what its machines should have, and in which order they get it."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.engine import rabbitmq as engine
from fleet.spec import endpoint, secrets
from fleet.spec.broker import RabbitMQ
from fleet.spec.certificates import Certificates
from fleet.spec.fleet import Fleet, Host
from fleet.spec.rabbitmq import UNIT
from fleet.spec.secrets import BROKER_WORKER
from fleet.state.desired import State
from fleet.state.observed import RunningUnit
from fleet.state.render import render
from fleet.state.role import check_watched
from roles import broker, broker_client, rabbitmq, worker
from tests.render.conftest import DESCRIBED, MACHINE, SECRETS, Pyinfra, content, file_of, run_of
from tests.render.test_passwords import lines_of

WEB = "web1.example.com"
FIRST = "broker1.example.com"


def with_rabbitmq(fleet: Fleet, nodes: int = 1, **settings: Any) -> Fleet:
    """The fleet with a RabbitMQ on so many hosts."""
    hosts = dict(fleet.hosts)
    names = [f"broker{number}.example.com" for number in range(2, nodes + 1)]
    for number, name in enumerate(names, 1):
        own = hosts[FIRST].settings.model_copy(update={"lan_address": f"10.0.0.1{number}"})
        hosts[name] = Host(name, own, {})
    everywhere = {name: replace(host, settings=_without_results(host)) for name, host in hosts.items()}
    return replace(fleet, hosts=everywhere, broker=RabbitMQ(kind="rabbitmq", **settings), more_broker_hosts=tuple(names))


def _without_results(host: Host) -> Any:
    return host.settings.model_copy(update={"result_backend": "none"})


def state_of(fleet: Fleet, host: str = FIRST, role: Any = rabbitmq, secrets: Mapping[str, str] = SECRETS, **more: Any) -> State:
    state: State = role.desired(replace(run_of(fleet, secrets), **more), fleet.hosts[host])
    check_watched(state, role)
    return state


def configuration(state: State) -> dict[str, str]:
    lines = content(state, "/etc/rabbitmq/rabbitmq.conf").splitlines()
    pairs = (line.partition(" = ") for line in lines if not line.startswith("#"))
    return {name: value for name, _, value in pairs if name}


def test_one_node(fleet: Fleet) -> None:
    state = state_of(with_rabbitmq(fleet))
    settings = configuration(state)
    assert {value for name, value in settings.items() if name.startswith("listeners.")} == {"10.0.0.10:5672", "127.0.0.1:5672"}
    assert settings["management.tcp.ip"] == "127.0.0.1"
    assert settings["vm_memory_high_watermark.absolute"] == str((4 << 30) * 40 // 100)
    assert settings["disk_free_limit.absolute"] == str((4 << 30) * 40 // 100)
    longest = max(role.longest_unacknowledged for host in fleet.hosts.values() for role in host.workers.values())
    assert int(settings["consumer_timeout"]) > longest * 1000, "in milliseconds"
    assert not [name for name in settings if name.startswith("cluster_")]
    assert "NODENAME=rabbit@10.0.0.10" in content(state, "/etc/rabbitmq/rabbitmq-env.conf").splitlines()
    assert state_of(with_rabbitmq(fleet), WEB) == State()
    assert state_of(with_rabbitmq(fleet), role=broker) == State(), "no Redis beside it"
    assert state_of(fleet) == State(), "no RabbitMQ beside Redis"


def test_three_nodes(fleet: Fleet) -> None:
    changed = with_rabbitmq(fleet, 3)
    for number, host in enumerate(changed.broker_hosts):
        settings = configuration(state_of(changed, host))
        assert settings["cluster_partition_handling"] == "pause_minority"
        assert [settings[f"cluster_formation.classic_config.nodes.{node}"] for node in (1, 2, 3)] == [
            "rabbit@10.0.0.10",
            "rabbit@10.0.0.11",
            "rabbit@10.0.0.12",
        ]
        assert settings["listeners.tcp.lan"] == f"10.0.0.1{number}:5672"
    addresses = [f"10.0.0.1{number}:5672/fleet" for number in range(3)]
    first = set()
    for host in ("web1.example.com", "web2.example.com", "web3.example.com"):
        env = content(state_of(changed, host, worker), "/etc/fleet/web.env")
        (url,) = re.findall(r'^CELERY_BROKER_URL="(.*)"$', env, re.MULTILINE)
        parts = [part.partition("@")[2] for part in url.split(";")]
        assert sorted(parts) == addresses
        first.add(parts[0])
    assert len(first) > 1, "not all workers lose their connection with one node"


def celery_of(fleet: Fleet) -> dict[str, Any]:
    """FLEET_CELERY of the workers of web1."""
    env = content(state_of(fleet, WEB, worker), "/etc/fleet/web.env")
    line = next(line for line in env.splitlines() if "FLEET_CELERY" in line)
    settings: dict[str, Any] = json.loads(line.removeprefix("FLEET_CELERY=")[1:-1].replace('\\"', '"'))
    return settings


def test_workers_of_rabbitmq_have_nothing_that_is_of_redis(fleet: Fleet) -> None:
    celery = celery_of(with_rabbitmq(fleet))
    assert celery["broker_transport_options"] == {"confirm_publish": True}
    assert celery["result_backend_transport_options"] == {}
    assert celery["lease"] is None
    assert celery["settings"]["task_default_queue_type"] == "quorum"
    assert celery["settings"]["broker_heartbeat"] == 15
    assert celery["settings"]["task_acks_late"] is True
    assert "broker_use_ssl" not in celery["settings"]


def test_tls(fleet: Fleet) -> None:
    changed = with_rabbitmq(fleet, 3, tls=True)
    given = Certificates(b"authorities", b"certificate", b"key")
    state = state_of(changed, certificates=given)
    settings = configuration(state)
    assert settings["listeners.tcp"] == "none"
    assert settings["listeners.ssl.lan"] == "10.0.0.10:5671"
    key = file_of(state, "/etc/rabbitmq/tls/broker.key")
    assert (key.content, key.mode, key.group) == (b"key", 0o640, "rabbitmq")
    assert state.units != state_of(changed, certificates=replace(given, certificate=b"a new one")).units
    assert celery_of(changed)["settings"]["broker_use_ssl"] == {
        "ca_certs": "/etc/fleet-broker/ca.pem",
        "cert_reqs": 2,
        "server_hostname": "10.0.0.10",
    }
    assert [file.path for file in state_of(changed, WEB, broker_client, certificates=given).files] == ["/etc/fleet-broker/ca.pem"]
    both = configuration(state_of(with_rabbitmq(fleet, tls="both"), certificates=given))
    assert {both["listeners.tcp.lan"], both["listeners.ssl.lan"]} == {"10.0.0.10:5672", "10.0.0.10:5671"}


def definitions(state: State) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(content(state, rabbitmq.DEFINITIONS))
    return found


def test_passwords_are_there_as_hashes_only(fleet: Fleet) -> None:
    state = state_of(with_rabbitmq(fleet))
    for file in state.files:
        if file.path != rabbitmq.COOKIE_FILE:
            assert not [value for value in SECRETS.values() if value.encode() in file.content], file.path
    assert file_of(state, rabbitmq.DEFINITIONS).mode == 0o640
    assert file_of(state, rabbitmq.COOKIE_FILE).mode == 0o400
    tags = {user["name"].partition("-")[0]: user["tags"] for user in definitions(state)["users"]}
    assert tags == {"worker": "", "monitor": "monitoring"}
    assert definitions(state) == definitions(state_of(with_rabbitmq(fleet))), "no salt that changes"


def test_the_policy_is_for_the_queues_of_the_app_alone(fleet: Fleet) -> None:
    (policy,) = definitions(state_of(with_rabbitmq(fleet)))["policies"]
    for queue in ("default", "priority", "gpu"):
        assert bool(re.search(policy["pattern"], queue)) == (queue in run_of(fleet).plan.consumers)
    assert not re.search(policy["pattern"], "fleet.dead")


def test_while_a_rotation_is_under_way_both_users_are_there_and_no_node_restarts(fleet: Fleet) -> None:
    changed = with_rabbitmq(fleet)
    rotated = {**SECRETS, BROKER_WORKER: "a new one", f"{BROKER_WORKER}_BEFORE": SECRETS[BROKER_WORKER]}
    before, meanwhile = state_of(changed), state_of(changed, secrets=rotated)
    assert before.units == meanwhile.units
    users = [{user["name"] for user in definitions(state)["users"]} for state in (before, meanwhile)]
    assert users[0] < users[1]
    assert endpoint.broker(changed, rotated).user in users[1] - users[0]
    settled = rabbitmq.settle(run_of(changed, rotated))
    assert all(name in settled for name in users[1]), "they stay"


def test_a_comment_that_changes_is_no_reason_to_restart(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = with_rabbitmq(fleet)
    now = state_of(changed).units
    monkeypatch.setattr(rabbitmq, "render", lambda *args, **values: render(*args, **values).replace(b"\n# ", b"\n# Now: "))
    assert state_of(changed).units == now
    monkeypatch.undo()
    assert state_of(with_rabbitmq(fleet, memory="30%")).units != now


BROKERS = """
broker = [("@fake/broker1.example.com", {**_ours, "lan_address": "10.0.0.10", "ssh_hostname": "a"})]
broker += [(f"@fake/broker{n}.example.com", {**_ours, "lan_address": f"10.0.0.1{n}", "ssh_hostname": "a"}) for n in (2, 3)]
"""


def test_one_node_after_the_other(pyinfra: Pyinfra) -> None:
    declared = [{"name": queue, "kind": "quorum", "exchange": "topic"} for queue in ("default", "priority", "batch", "ml")]
    done = pyinfra("-y", "-vvv", more=BROKERS, group_data=GROUP_DATA, described={**DESCRIBED, "declared": declared})
    assert done.returncode == 0, done.stdout + done.stderr
    names = [name for name in re.findall(r"Starting operation: (.*\S)", done.stderr) if "listens" not in name]
    assert [
        name.partition(".")[0] for name in names if "RabbitMQ" in name or "queue" in name or name == "Bring up the workers"
    ] == [
        "Check that no other RabbitMQ has data here",
        "Bring up RabbitMQ on @fake/broker1",
        "Bring up RabbitMQ on @fake/broker2",
        "Bring up RabbitMQ on @fake/broker3",
        "Have every queue on all nodes",
        "Bring up the workers",
    ]


GROUP_DATA = {
    "broker.py": 'broker = {"kind": "rabbitmq"}\n',
    "all.py": (Path(__file__).parents[2] / "group_data" / "all.py").read_text() + '\nresult_backend = "none"\n',
}


def running(fleet: Fleet, folder: Path, **changed: bytes) -> list[str]:
    """What the probe prints of a machine that is as it should be, but for files with this content."""
    state = state_of(with_rabbitmq(fleet), secrets=secrets.read(folder / "secrets.env"))
    files = tuple(replace(file, content=changed.get(Path(file.path).name, file.content)) for file in state.files)
    return list(lines_of(replace(state, files=files)))


def of_broker(output: str) -> list[str]:
    lines = (line.strip() for line in output.splitlines())
    return [line.partition("] ")[2].strip() for line in lines if line.startswith(f"[@fake/{FIRST}]")]


def test_a_node_that_is_as_it_should_be_is_left_alone(fleet: Fleet, pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra("--dry", "--limit", f"@fake/{FIRST}", group_data=GROUP_DATA, machine_lines=running(fleet, tmp_path))
    assert done.returncode == 0, done.stderr
    assert not [line for line in of_broker(done.stderr) if "rabbit" in line.lower()]


def test_users_change_while_it_runs(fleet: Fleet, pyinfra: Pyinfra, tmp_path: Path) -> None:
    lines = running(fleet, tmp_path, **{"fleet-definitions.json": b"others"})
    done = pyinfra("--dry", group_data=GROUP_DATA, machine_lines=lines)
    assert done.returncode == 0, done.stderr
    assert [line for line in of_broker(done.stderr) if "abbit" in line] == [
        f"write {rabbitmq.DEFINITIONS}",
        "change users and policies of RabbitMQ, which goes on to run",
    ]
    assert "Bring new users and policies to RabbitMQ, besides those before" in done.stderr
    assert "Accept the passwords of the secrets file alone" in done.stderr
    limited = pyinfra("--dry", "--limit", f"@fake/{FIRST}", group_data=GROUP_DATA, machine_lines=lines)
    assert "RabbitMQ goes on to accept the passwords before, until a deploy without --limit" in limited.stderr


def test_no_node_of_three_is_stopped_while_the_others_need_it(fleet: Fleet) -> None:
    nodes = rabbitmq.nodes(run_of(with_rabbitmq(fleet, 3)))
    assert "check_if_node_is_quorum_critical" in rabbitmq.wait_until_spare(nodes)
    observed = {f"broker{number}.example.com": MACHINE for number in (1, 2, 3)}
    up = replace(MACHINE, units={UNIT: RunningUnit(True, True, False, 7, "x", "")})
    order = engine.order(observed, {**observed, FIRST: up}, UNIT)
    assert order == ["broker2.example.com", "broker3.example.com", FIRST], "those that do not run come first"


@pytest.mark.parametrize("file", ["msg_stores/vhosts/X/queues/Y/0.idx", "quorum/rabbit@old/fleet_default/00000001.segment"])
def test_a_rabbitmq_with_queues_of_its_own_is_not_taken_over(tmp_path: Path, file: str) -> None:
    def refused() -> str:
        done = subprocess.run(
            ["sh", "-c", rabbitmq.refuse_others_data(str(tmp_path))], capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) == (not done.stderr)
        return done.stderr

    assert refused() == "", "nothing was there"
    for folder in ("quorum/rabbit@old", "msg_stores/vhosts/X", "coordination/rabbit@old"):
        (tmp_path / "rabbit@old" / folder).mkdir(parents=True)
    assert refused() == "", "as a package has just started it"
    path = tmp_path / "rabbit@old" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert f"with queues in {tmp_path}/rabbit@old" in refused()
