"""The commands that change the passwords of a running Redis, on a real one."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from fleet.spec import certificates
from fleet.state.redis_users import Users
from fleet.state.render import render
from tests.unit.shop_support import answering, free_port, process

OLD, NEW, ADMIN, ADMIN_NEW = "an old one", "a new one", "the admin's", "the admin's new one"


def acl(passwords: Mapping[str, Sequence[str]]) -> bytes:
    """The users file, as the role renders it."""
    digests = {user: [sha256(password.encode()).hexdigest() for password in of] for user, of in passwords.items()}
    return render("etc/redis/users.acl.j2", **{"admin": (), "worker": (), "monitor": (), **digests})


@pytest.fixture
def users(tmp_path: Path) -> Iterator[Users]:
    """Of a Redis that runs with one password each."""
    path, port = tmp_path / "users.acl", free_port()
    path.write_bytes(acl({"admin": [ADMIN], "worker": [OLD], "monitor": ["monitor"]}))
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with process([*command, "--aclfile", str(path)], tmp_path / "log"):
        answering(port, username="worker", password=OLD)
        yield Users(str(path), path.read_bytes(), port, (ADMIN,), owner="root:root")


def changed(users: Users, worker: Sequence[str], admin: Sequence[str] = (ADMIN,)) -> Users:
    content = acl({"admin": admin, "worker": worker, "monitor": ["monitor"]})
    return replace(users, content=content, passwords=tuple(admin))


def run(command: str, users: Users) -> list[str]:
    """What a machine prints of a command."""
    done = subprocess.run(["sh", "-c", command], input=users.input, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def accepts(users: Users, password: str, user: str = "worker") -> bool:
    try:
        with (
            Redis(port=users.port, username=user, password=password, retry=Retry(NoBackoff(), 0)) as client,
            suppress(NoPermissionError),
        ):
            client.ping()
    except AuthenticationError:
        return False
    return True


def file_of(users: Users) -> bytes:
    return Path(users.path).read_bytes()


def test_both_passwords_are_valid_until_the_end_and_nobody_is_disconnected(users: Users) -> None:
    with Redis(port=users.port, username="worker", password=OLD) as client:
        name = client.client_id()
        new = changed(users, [NEW])
        assert run(new.accept(), new) == ["accepts a new password of worker"]
        assert accepts(users, OLD) and accepts(users, NEW)
        assert run(new.accept(), new) == [], "nothing is left to do"
        assert run(new.settle(), new) == ["no longer accepts a password before of worker"]
        assert not accepts(users, OLD) and accepts(users, NEW)
        assert file_of(users) == new.content
        assert run(new.settle(), new) == []
        assert client.client_id() == name, "it is still the same connection"


def test_a_restart_between_the_two_changes_nothing(users: Users) -> None:
    new = changed(users, [NEW])
    run(new.accept(), new)
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--aclfile", users.path]
    with process(command, Path(users.path).with_name("other.log")):
        answering(port, username="worker", password=NEW)
        other = replace(new, port=port)
        assert accepts(other, OLD)
        assert run(other.settle(), other) == ["no longer accepts a password before of worker"]


@pytest.mark.parametrize("worker", [[OLD], [NEW], [NEW, OLD]])
def test_a_run_that_was_cut_off_is_finished_by_the_next(users: Users, worker: list[str]) -> None:
    new = changed(users, worker)
    asked = new.accept().rpartition("write\n")[0]  # it is cut off before the file is written
    run(asked, new)
    assert file_of(users) == users.content
    assert accepts(users, OLD)
    run(new.accept(), new)
    run(new.settle(), new)
    assert {password for password in (OLD, NEW) if accepts(users, password)} == set(worker)
    assert file_of(users) == new.content


def test_the_admins_password_changes_as_the_others(users: Users) -> None:
    both = changed(users, [OLD], [ADMIN_NEW, ADMIN])
    assert run(both.accept(), both) == ["accepts a new password of admin"]
    assert file_of(users) == both.content
    last = changed(users, [OLD], [ADMIN_NEW])
    run(last.accept(), last)
    assert accepts(users, ADMIN, "admin")
    assert run(last.settle(), last) == ["no longer accepts a password before of admin"]
    assert not accepts(users, ADMIN, "admin") and accepts(users, ADMIN_NEW, "admin")


def test_an_admin_that_redis_does_not_know_is_told_and_a_restart_mends_it(users: Users) -> None:
    lost = changed(users, [NEW], ["written by hand"])
    for command in (lost.settle(), lost.accept()):
        done = subprocess.run(["sh", "-c", command], input=lost.input, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("Redis does not know BROKER_ADMIN_PASSWORD: restart it once")
        assert "written by hand" not in done.stderr
    assert not accepts(users, NEW)
    for password in (OLD, NEW, ADMIN, "written by hand"):
        assert sha256(password.encode()).hexdigest() in file_of(users).decode(), "what a restart reads"


def test_a_server_that_does_not_answer_is_told(users: Users) -> None:
    gone = replace(changed(users, [NEW]), port=free_port())
    done = subprocess.run(["sh", "-c", gone.settle()], input=gone.input, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


def test_a_server_that_is_about_to_be_restarted_is_not_asked(users: Users) -> None:
    new = changed(users, [NEW])
    assert run(new.accept(live=False), new) == []
    assert not accepts(users, NEW)
    for password in (OLD, NEW):
        assert sha256(password.encode()).hexdigest() in file_of(users).decode()


def test_no_password_is_an_argument(users: Users) -> None:
    new = changed(users, [NEW], [ADMIN_NEW, ADMIN])
    for command in (new.accept(), new.settle()):
        for password in (OLD, NEW, ADMIN, ADMIN_NEW):
            assert password not in command
            assert sha256(password.encode()).hexdigest() not in command
    assert NEW not in repr(new) and ADMIN not in repr(new)


def test_with_tls_alone_the_server_is_asked_by_tls(users: Users, tmp_path: Path) -> None:
    folder, port = tmp_path / "tls", free_port()
    certificates.make(folder, ["127.0.0.1", "localhost"])
    files = {"--tls-ca-cert-file": "ca.pem", "--tls-cert-file": "broker.pem", "--tls-key-file": "broker.key"}
    command = ["redis-server", "--port", "0", "--bind", "127.0.0.1", "--save", "", "--tls-port", str(port)]
    command += [word for option, name in files.items() for word in (option, str(folder / name))]
    with process([*command, "--tls-auth-clients", "no", "--aclfile", users.path], tmp_path / "tls.log"):
        answering(port, username="worker", password=OLD, ssl=True, ssl_ca_certs=str(folder / "ca.pem"))
        new = replace(changed(users, [NEW]), port=port, authorities=str(folder / "ca.pem"))
        assert run(new.accept(), new) == ["accepts a new password of worker"]
        assert run(new.settle(), new) == ["no longer accepts a password before of worker"]
        answering(port, username="worker", password=NEW, ssl=True, ssl_ca_certs=str(folder / "ca.pem"))
