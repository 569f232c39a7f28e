"""What the broker's configuration says."""

from fleet import spec
from roles import broker
from tests.render.conftest import MACHINE, SECRETS, content, file_of


def test_redis_keeps_what_it_is_given(fleet: spec.Fleet) -> None:
    lines = content(broker.desired(fleet, SECRETS, MACHINE), "/etc/redis/redis.conf").splitlines()
    assert "bind 10.0.0.10 127.0.0.1" in lines
    assert "appendonly yes" in lines
    assert "maxmemory-policy noeviction" in lines
    assert f"maxmemory {(4 << 30) * 40 // 100}" in lines


def test_passwords_are_there_as_hashes_only(fleet: spec.Fleet) -> None:
    state = broker.desired(fleet, SECRETS, MACHINE)
    for file in state.files:
        for secret in SECRETS.values():
            assert secret.encode() not in file.content
    acl = file_of(state, "/etc/redis/users.acl")
    assert (acl.mode, acl.owner) == (0o640, "redis")
    assert acl.content.decode().startswith("user default off ")


def test_a_new_password_is_a_new_revision(fleet: spec.Fleet) -> None:
    before = broker.desired(fleet, SECRETS, MACHINE).units
    after = broker.desired(fleet, {**SECRETS, "BROKER_MONITOR_PASSWORD": "another"}, MACHINE).units
    assert before != after
