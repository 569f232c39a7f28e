"""A password changes: what a deploy would do on a broker that runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.spec import certificates, secrets
from fleet.spec.fleet import Fleet
from fleet.state.desired import State
from roles import broker
from tests.render.conftest import Pyinfra, run_of
from tests.render.test_steps import FAILS

BROKER = "@fake/broker1.example.com"
ENDS = "Accept the passwords of the secrets file alone"
CHANGES = "change passwords of Redis, which goes on to run"


def lines_of(state: State, users: bytes | None = None) -> Iterator[str]:
    """What the probe prints of a machine that has this. users: another content of the users file."""
    for package in state.packages:
        yield f"package\t{package}\tinstalled"
    for directory in state.directories:
        yield f"path\td\t{directory.owner}\t{directory.group}\t{directory.mode:o}\t{directory.path}"
    for file in state.files:
        content = users if users is not None and file.path == broker.USERS_FILE else file.content
        yield f"path\tf\t{file.owner}\t{file.group}\t{file.mode:o}\t{file.path}"
        yield f"digest\t{replace(file, content=content).digest}\t{file.path}"
    for unit in state.units:
        for key, value in {
            "Id": unit.name,
            "LoadState": "loaded",
            "ActiveState": "active",
            "UnitFileState": "enabled",
            "MainPID": "7",
            "Revision": unit.revision or "",
        }.items():
            yield f"unit\t{key}\t{value}"
        yield "unit-end"


@pytest.fixture
def state(fleet: Fleet, tmp_path: Path, pyinfra: Pyinfra) -> State:
    """The broker's, with the secrets that the fake machines are deployed with."""
    return broker.desired(run_of(fleet, secrets.read(tmp_path / "secrets.env")), fleet.hosts[fleet.records_host])


def of_broker(output: str) -> list[str]:
    return [line.partition("] ")[2].strip() for line in output.splitlines() if line.strip().startswith(f"[{BROKER}]")]


def test_a_redis_with_these_passwords_is_left_alone(pyinfra: Pyinfra, state: State) -> None:
    done = pyinfra("--dry", "--limit", BROKER, machine_lines=lines_of(state))
    assert done.returncode == 0, done.stderr
    assert not [line for line in of_broker(done.stderr) if "redis" in line.lower()]


def test_other_passwords_are_changed_while_redis_runs(pyinfra: Pyinfra, state: State) -> None:
    done = pyinfra("--dry", machine_lines=lines_of(state, users=b"others"))
    assert done.returncode == 0, done.stderr
    about = [line for line in of_broker(done.stderr) if "edis" in line]
    assert about == ["write /etc/redis/users.acl", CHANGES]
    assert "Accept new passwords of Redis, besides those before" in done.stderr
    assert ENDS in done.stderr


def test_a_deploy_over_one_of_an_earlier_version_restarts_redis_and_says_so(pyinfra: Pyinfra, state: State) -> None:
    before = replace(state, units=tuple(replace(unit, revision="earlier") for unit in state.units))
    done = pyinfra("--dry", machine_lines=lines_of(before, users=b"others"))
    assert done.returncode == 0, done.stderr
    about = of_broker(done.stderr)
    assert "restart redis-server.service" in about
    assert CHANGES not in about


def test_with_some_machines_alone_nothing_is_taken_back(pyinfra: Pyinfra, state: State) -> None:
    done = pyinfra("--dry", "--limit", BROKER, machine_lines=lines_of(state, users=b"others"))
    assert done.returncode == 0, done.stderr
    assert CHANGES in of_broker(done.stderr)
    assert ENDS not in done.stderr
    assert "Redis goes on to accept the passwords before, until a deploy without --limit" in done.stderr


def operations(output: str) -> list[str]:
    """What a run did, in its order."""
    starts = ("--> Starting operation:", "Starting nested operation:")
    return [line.partition(start)[2].strip() for line in output.splitlines() for start in starts if start in line]


def test_new_passwords_are_accepted_before_any_worker_and_those_before_end_last(pyinfra: Pyinfra, state: State) -> None:
    done = pyinfra("-y", machine_lines=lines_of(state, users=b"others"))
    assert done.returncode == 0, done.stderr
    names = operations(done.stdout + done.stderr)
    accepted, ended = names.index("Accept new passwords of Redis, besides those before"), names.index(ENDS)
    workers = [index for index, name in enumerate(names) if name == "Drain, restart and watch workers" or "Step" in name]
    assert workers and accepted < workers[0] and workers[-1] < ended
    assert names.index("Bring up the monitor") < ended
    assert "restart redis-server.service" not in of_broker(done.stderr)


def test_those_before_stay_if_a_worker_did_not_get_the_new_one(pyinfra: Pyinfra, state: State) -> None:
    done = pyinfra("-y", more=FAILS, machine_lines=lines_of(state, users=b"others"))
    assert done.returncode == 1
    names = operations(done.stdout + done.stderr)
    assert "Accept new passwords of Redis, besides those before" in names
    assert ENDS not in names


def test_those_before_stay_if_some_hosts_may_fail(pyinfra: Pyinfra, state: State) -> None:
    done = pyinfra("-y", "--fail-percent", "90", more=FAILS, machine_lines=lines_of(state, users=b"others"))
    output = " ".join((done.stdout + done.stderr).split())
    assert "Redis goes on to accept the passwords before, because not all went well" in output


def test_a_redis_is_encrypted_with_all_machines_at_once(pyinfra: Pyinfra, state: State, fleet: Fleet, tmp_path: Path) -> None:
    certificates.make(tmp_path / "secrets-tls", certificates.names_of(fleet))
    encrypted = {"broker.py": "broker = {'tls': 'both'}\n"}
    done = pyinfra("--dry", "--limit", BROKER, group_data=encrypted, machine_lines=lines_of(state))
    assert done.returncode == 1
    assert "machines that --limit leaves out would not trust the broker's new certificate" in done.stderr
    done = pyinfra("--dry", group_data=encrypted, machine_lines=lines_of(state))
    assert done.returncode == 0, done.stderr
    assert "restart redis-server.service" in of_broker(done.stderr)
