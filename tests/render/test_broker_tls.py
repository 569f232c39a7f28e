"""Certificates on machines: of our own Redis, and of those who connect."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fleet.spec.broker import External, Redis
from fleet.spec.certificates import Certificates
from fleet.spec.fleet import Fleet
from fleet.state.desired import State
from fleet.state.role import check_watched
from roles import broker, broker_client, monitor, worker
from tests.render.conftest import SECRETS, content, file_of, run_of

WEB = "web1.example.com"
CERTIFICATES = Certificates(b"authorities", b"certificate", b"key")
URL = "rediss://shop:pass@redis.example.com:6390/3"
CA, CLIENT, KEY = (f"/etc/fleet-broker/{name}" for name in ("ca.pem", "client.pem", "client.key"))


def with_tls(fleet: Fleet, tls: Any = True) -> Fleet:
    return replace(fleet, broker=Redis(tls=tls))


def with_others(fleet: Fleet) -> Fleet:
    """The fleet with a broker that is not its own."""
    broker = External(url="@BROKER_URL", ca_file="ca.pem", certificate_file="client.pem", key_file="client.key")
    return replace(fleet, broker=broker, broker_host=None)


def state_of(role: Any, fleet: Fleet, host: str, certificates: Certificates = CERTIFICATES) -> State:
    run = replace(run_of(fleet, {**SECRETS, "BROKER_URL": URL}), certificates=certificates)
    state: State = role.desired(run, fleet.hosts[host])
    check_watched(state, role)
    return state


@pytest.mark.parametrize(
    ("tls", "there", "absent"),
    [
        (False, ["port 6379"], ["tls-port"]),
        (True, ["port 0", "tls-port 6380"], ["port 6379"]),
        ("both", ["port 6379", "tls-port 6380"], []),
    ],
)
def test_the_ports_of_redis(fleet: Fleet, tls: Any, there: list[str], absent: list[str]) -> None:
    state = state_of(broker, with_tls(fleet, tls), fleet.records_host)
    lines = content(state, "/etc/redis/redis.conf").splitlines()
    assert set(there) <= set(lines)
    assert not [line for line in lines for words in absent if line.startswith(words)]
    assert ("tls-auth-clients no" in lines) == bool(tls)
    assert "/etc/redis/tls/broker.key" in state.only, "it goes with the setting"


def test_the_key_of_redis_is_read_by_redis_alone(fleet: Fleet) -> None:
    state = state_of(broker, with_tls(fleet), fleet.records_host)
    key = file_of(state, "/etc/redis/tls/broker.key")
    assert (key.content, key.mode, key.owner, key.group) == (b"key", 0o640, "root", "redis")


def test_redis_is_restarted_with_a_new_certificate(fleet: Fleet) -> None:
    def revision(certificates: Certificates) -> str | None:
        return state_of(broker, with_tls(fleet), fleet.records_host, certificates).units[0].revision

    assert revision(CERTIFICATES) == revision(CERTIFICATES)
    assert revision(CERTIFICATES) != revision(replace(CERTIFICATES, certificate=b"a new one"))


def test_machines_trust_our_own_authority_and_have_no_key(fleet: Fleet) -> None:
    state = state_of(broker_client, with_tls(fleet), WEB)
    assert {file.path: (file.content, file.mode) for file in state.files} == {CA: (b"authorities", 0o644)}
    assert state_of(broker_client, with_tls(fleet), fleet.records_host).files == (), "nobody connects from there"
    beat_there = replace(with_tls(fleet), beat_hosts=(fleet.records_host,))
    assert state_of(broker_client, beat_there, fleet.records_host).files == state.files
    assert state_of(broker_client, fleet, WEB, Certificates()).entries == ()
    assert CA in state_of(broker_client, fleet, WEB, Certificates()).only
    env = content(state_of(worker, with_tls(fleet), WEB), "/etc/fleet/web.env")
    query = "?ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs=/etc/fleet-broker/ca.pem"
    assert f'CELERY_BROKER_URL="rediss://worker:worker%2Fpassword@10.0.0.10:6380/0{query}"' in env
    assert f'CELERY_RESULT_BACKEND="rediss://worker:worker%2Fpassword@10.0.0.10:6380/1{query}"' in env


def test_machines_show_their_certificate_to_a_broker_that_is_not_ours(fleet: Fleet) -> None:
    others = with_others(fleet)
    files = {file.path: (file.content, file.mode, file.group) for file in state_of(broker_client, others, WEB).files}
    assert files == {
        CA: (b"authorities", 0o644, "root"),
        CLIENT: (b"certificate", 0o644, "root"),
        KEY: (b"key", 0o640, "celery"),
    }
    assert state_of(broker, others, fleet.records_host) == State(), "no Redis of ours"
    env = content(state_of(worker, others, WEB), "/etc/fleet/web.env")
    assert f'CELERY_BROKER_URL="{URL}?ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs={CA}&' in env
    assert f'&ssl_certfile={CLIENT}&ssl_keyfile={KEY}"' in env


@pytest.mark.parametrize(("broker_of", "may_read_the_key"), [(with_tls, False), (with_others, True)])
def test_the_exporter_connects_as_workers_do(fleet: Fleet, broker_of: Callable[[Fleet], Fleet], may_read_the_key: bool) -> None:
    changed = broker_of(fleet)
    assert changed.monitor_host
    state = state_of(monitor, changed, changed.monitor_host)
    url = file_of(state, "/etc/fleet-exporter/broker-url")
    assert url.content.startswith(b"rediss://monitor:" if changed.redis else b"rediss://shop:pass@redis.example.com")
    assert f"ssl_ca_certs={CA}".encode() in url.content
    assert url.mode == 0o600
    unit = content(state, "/etc/systemd/system/fleet-exporter.service")
    assert ("SupplementaryGroups=celery" in unit.splitlines()) == may_read_the_key
