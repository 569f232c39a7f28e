"""What the broker's configuration says."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import AuthenticationError, Redis
from redis.exceptions import NoPermissionError

from fleet.spec.broker import Redis as RedisSettings
from fleet.spec.fleet import Fleet
from fleet.spec.secrets import BROKER_ADMIN, BROKER_WORKER
from fleet.state import redis_configuration, redis_users
from fleet.state.desired import State
from fleet.state.render import render
from roles import broker
from tests.render.conftest import SECRETS, content, file_of, run_of
from tests.unit.shop_support import answering, free_port, process

WORKER = SECRETS[BROKER_WORKER]


def state_of(fleet: Fleet, secrets: Mapping[str, str] = SECRETS) -> State:
    """What the broker's machine should have of it."""
    return broker.desired(run_of(fleet, secrets), fleet.hosts[fleet.records_host])


def test_redis_keeps_what_it_is_given(fleet: Fleet) -> None:
    lines = content(state_of(fleet), "/etc/redis/redis.conf").splitlines()
    assert "bind 10.0.0.10 127.0.0.1" in lines
    assert "appendonly yes" in lines
    assert "maxmemory-policy noeviction" in lines
    assert f"maxmemory {(4 << 30) * 40 // 100}" in lines


def test_a_comment_that_changes_is_no_reason_to_restart_redis(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def revision_if(change: Callable[[bytes], bytes]) -> str | None:
        with monkeypatch.context() as patched:
            patched.setattr(redis_configuration, "render", lambda name, **values: change(render(name, **values)))
            return state_of(fleet).units[0].revision

    now = revision_if(lambda text: text)
    assert revision_if(lambda text: text.replace(b"\n# ", b"\n\n# It is said otherwise: ")) == now
    assert revision_if(lambda text: text.replace(b"appendonly yes", b"appendonly no")) != now


def test_passwords_are_there_as_hashes_only(fleet: Fleet) -> None:
    state = state_of(fleet)
    for file in state.files:
        for secret in SECRETS.values():
            assert secret.encode() not in file.content
    acl = file_of(state, "/etc/redis/users.acl")
    assert (acl.mode, acl.owner) == (0o640, "redis")
    assert acl.content.decode().startswith("user default off ")


def test_what_was_written_in_a_transaction_is_there_after_a_restart(fleet: Fleet, tmp_path: Path) -> None:
    """Redis 7.0 reads its file as the default user: where that may do nothing, it reads no transaction."""
    with (
        free_redis(fleet, tmp_path) as port,
        Redis(port=port, username="worker", password=WORKER) as client,
        client.pipeline(transaction=True) as pipeline,
    ):
        pipeline.hset("unacked", "tag", "message").zadd("unacked_index", {"tag": 1})
        pipeline.execute()
    with free_redis(fleet, tmp_path) as port, Redis(port=port, username="worker", password=WORKER) as client:
        assert client.hgetall("unacked") == {b"tag": b"message"}
        assert client.zcard("unacked_index") == 1


def test_whoever_has_not_logged_in_may_do_nothing(fleet: Fleet, tmp_path: Path) -> None:
    with free_redis(fleet, tmp_path) as port:
        with pytest.raises(AuthenticationError), Redis(port=port) as client:
            client.get("anything")
        for password in ("", "default", "worker"):
            with pytest.raises(AuthenticationError), Redis(port=port, username="default", password=password) as client:
                client.ping()


def test_while_a_rotation_is_under_way_both_passwords_are_accepted(fleet: Fleet, tmp_path: Path) -> None:
    rotated = {**SECRETS, "BROKER_WORKER_PASSWORD": "a new one", "BROKER_WORKER_PASSWORD_BEFORE": WORKER}
    with free_redis(fleet, tmp_path, rotated) as port:
        for password in ("a new one", WORKER):
            with Redis(port=port, username="worker", password=password) as client:
                assert client.rpush("queue", password)
    with free_redis(fleet, tmp_path) as port, pytest.raises(AuthenticationError):
        Redis(port=port, username="worker", password="a new one").ping()


@contextmanager
def free_redis(fleet: Fleet, folder: Path, secrets: Mapping[str, str] = SECRETS) -> Iterator[int]:
    """A Redis of our own with the broker's users, and a file that it keeps."""
    users = folder / "users.acl"
    users.write_text(content(state_of(fleet, secrets), "/etc/redis/users.acl"))
    port = free_port()
    options = ["--bind", "127.0.0.1", "--appendonly", "yes", "--dir", str(folder), "--aclfile", str(users)]
    with process(["redis-server", "--port", str(port), *options], folder / "log"):
        answering(port, username="worker", password=WORKER)
        yield port


def test_a_new_password_is_no_reason_to_restart_redis(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rotated = state_of(fleet), state_of(fleet, {**SECRETS, **dict.fromkeys(SECRETS, "another"), "x": "y"})
    assert before.units == rotated.units
    assert file_of(before, broker.USERS_FILE) != file_of(rotated, broker.USERS_FILE)
    with monkeypatch.context() as patched:
        patched.setattr(redis_users, "render", lambda name, **values: render(name, **values).replace(b"+time", b""))
        assert state_of(fleet).units != before.units, "what a user may do changes with a restart"


def test_the_admin_may_do_nothing_but_change_users(fleet: Fleet, tmp_path: Path) -> None:
    with free_redis(fleet, tmp_path) as port, Redis(port=port, username="admin", password=SECRETS[BROKER_ADMIN]) as client:
        assert len(client.execute_command("ACL", "LIST")) == 4
        for command in (("GET", "a"), ("CONFIG", "GET", "*"), ("ACL", "LOAD"), ("ACL", "DELUSER", "worker"), ("FLUSHALL",)):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)


@pytest.mark.parametrize(
    ("tls", "port", "authorities"), [(False, 6379, ""), ("both", 6379, ""), (True, 6380, "/etc/redis/tls/ca.pem")]
)
def test_the_way_to_the_users_of_a_redis_that_runs(fleet: Fleet, tls: Any, port: int, authorities: str) -> None:
    run = run_of(replace(fleet, broker=RedisSettings(tls=tls)), {**SECRETS, f"{BROKER_ADMIN}_BEFORE": "before"})
    users = broker.users(run, run.fleet.hosts[fleet.records_host])
    assert users
    assert (users.path, users.port, users.authorities) == (broker.USERS_FILE, port, authorities)
    assert users.passwords == (SECRETS[BROKER_ADMIN], "before")
    assert users.content == file_of(broker.desired(run, run.fleet.hosts[fleet.records_host]), broker.USERS_FILE).content
    assert ("--tls --cacert" in users.settle()) == bool(authorities)
    assert broker.users(run, run.fleet.hosts["web1.example.com"]) is None


def refused(folder: Path, port: int, configuration: str = "") -> str:
    """What the check says of a machine with this Redis; empty where it may be ours."""
    (folder / "redis.conf").write_text(configuration)
    command = broker.refuse_others_data(str(folder / "redis.conf"), str(folder / "data"), port)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (not done.stderr)
    return done.stderr


def test_a_redis_with_data_of_its_own_is_not_taken_over(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "data").mkdir()
    new = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path / "data")]
    with process(new, tmp_path / "log"):
        answering(port)
        assert refused(tmp_path, port) == ""  # as a package has just started it
        with Redis(port=port) as client:
            client.set("a", 1)
            assert "with 1 keys" in refused(tmp_path, port)
            client.flushall()
            client.config_set("requirepass", "secret")
        assert "NOAUTH" in refused(tmp_path, port)
        assert "nothing on port" in refused(tmp_path, free_port())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "own.rdb").write_bytes(b"x" * 500)
    with process(new, tmp_path / "log"):
        answering(port)
        assert "with data in" in refused(tmp_path, port, f"port 1\ndir {tmp_path}/elsewhere\n")
