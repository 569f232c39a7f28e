"""Where broker and results are reached, from a machine and from here."""

from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from fleet.spec import endpoint
from fleet.spec.endpoint import Way
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from fleet.spec.mistakes import SpecError
from fleet.spec.secrets import SecretsError
from tests.unit.fleet.spec.spec_support import ALL, WEB, inventory_of, mistakes

pytestmark = pytest.mark.usefixtures("app_folder")

OWN = {"BROKER_WORKER_PASSWORD": "w/x", "BROKER_MONITOR_PASSWORD": "m"}
URL = {"BROKER_URL": "rediss://shop:pass@redis.example.com:6390/3"}


def fleet_with(broker: dict[str, Any], **more: Any) -> Fleet:
    """A fleet whose own Redis has these settings."""
    inventory = inventory_of(everywhere={**ALL, **more})
    hosts = {**inventory.hosts, "broker1": {**inventory.hosts["broker1"], "broker": broker}}
    return load_fleet(Inventory(hosts, inventory.groups, inventory.group_data))


def external(broker: dict[str, Any], **more: Any) -> Inventory:
    """An inventory whose broker is somebody else's."""
    return inventory_of(brokers=0, everywhere={**ALL, "broker": broker, **more})


def test_our_own_redis() -> None:
    fleet = fleet_with({"port": 7000})
    assert endpoint.celery_variables(fleet, OWN) == {
        "CELERY_BROKER_URL": "redis://worker:w%2Fx@10.0.0.10:7000/0",
        "CELERY_RESULT_BACKEND": "redis://worker:w%2Fx@10.0.0.10:7000/1",
    }
    assert endpoint.broker(fleet, OWN, "monitor", way=Way(4000)).url == "redis://monitor:m@127.0.0.1:4000/0"
    assert fleet.broker_secrets == ("BROKER_WORKER_PASSWORD", "BROKER_MONITOR_PASSWORD")


@pytest.mark.parametrize("tls", [True, "both"])
def test_our_own_redis_behind_tls(tls: Any) -> None:
    fleet = fleet_with({"tls": tls}, secrets_file="s/prod.env")
    checked = "ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs="
    assert endpoint.broker(fleet, OWN).url == f"rediss://worker:w%2Fx@10.0.0.10:6380/0?{checked}/etc/fleet-broker/ca.pem"
    here = endpoint.broker(fleet, OWN, way=Way(4000)).url
    assert here.startswith(
        "rediss://worker:w%2Fx@127.0.0.1:4000/0?ssl_cert_reqs=required&ssl_check_hostname=false&ssl_ca_certs=/"
    )
    assert here.endswith("/s/prod-tls/ca.pem"), "its name was checked before"


def test_a_broker_that_somebody_else_runs() -> None:
    files = {"ca_file": "ca.pem", "certificate_file": "c.pem", "key_file": "c.key"}
    fleet = load_fleet(external({"url": "@BROKER_URL", **files}, result_backend="@RESULT_URL"))
    assert (fleet.broker_host, fleet.records_host, fleet.broker_name, fleet.redis) == (None, "web1", "BROKER_URL", None)
    assert fleet.broker_secrets == ("BROKER_URL", "RESULT_URL")
    secrets = {**URL, "RESULT_URL": "postgresql://shop:pass@db/results"}
    assert endpoint.celery_variables(fleet, secrets) == {
        "CELERY_BROKER_URL": "rediss://shop:pass@redis.example.com:6390/3?ssl_cert_reqs=required&ssl_check_hostname=true"
        "&ssl_ca_certs=/etc/fleet-broker/ca.pem&ssl_certfile=/etc/fleet-broker/client.pem&ssl_keyfile=/etc/fleet-broker/client.key",
        "CELERY_RESULT_BACKEND": "postgresql://shop:pass@db/results",
    }
    assert "ssl_check_hostname=false" in endpoint.broker(fleet, secrets, way=Way(4000)).url, "its name was checked before"
    assert "@redis.example.com:6390/" in endpoint.broker(fleet, secrets, way=Way()).url
    assert "ssl_check_hostname=true" in endpoint.broker(fleet, secrets, way=Way()).url


@pytest.mark.parametrize(("backend", "url"), [("app", None), ("none", "disabled://"), ("broker", "redis://10.0.0.5:6379/2")])
def test_results(backend: str, url: str | None) -> None:
    fleet = load_fleet(external({"url": "redis://10.0.0.5/2"}, result_backend=backend))
    assert endpoint.celery_variables(fleet, {}).get("CELERY_RESULT_BACKEND") == url


@pytest.mark.parametrize(
    ("url", "checks"),
    [
        ("rediss://:x@localhost/1", "?ssl_cert_reqs=required&ssl_check_hostname=true"),
        ("rediss://:x@localhost/1?socket_timeout=5", "&ssl_cert_reqs=required&ssl_check_hostname=true"),
        ("rediss://:x@localhost/1?ssl_check_hostname=false", "&ssl_cert_reqs=required"),
        ("rediss://:x@localhost/1?ssl_cert_reqs=none", ""),
        ("redis://:x@localhost/1", ""),
    ],
)
def test_celery_takes_a_result_url_that_is_silent_about_certificates(url: str, checks: str) -> None:
    fleet = load_fleet(external({"url": "@BROKER_URL"}, result_backend="@RESULT_URL"))
    secrets = {**URL, "RESULT_URL": url}
    backend = endpoint.celery_variables(fleet, secrets)["CELERY_RESULT_BACKEND"]
    assert backend == f"{url}{checks}"
    assert Celery(backend=backend).backend.connparams["host"] == "localhost", "Celery refuses rediss:// without ssl_cert_reqs"
    server = endpoint.result_server(fleet, secrets)
    assert server
    assert ("ssl_cert_reqs" in server.query) is url.startswith("rediss"), "commands check the same"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis://:a/b@10.0.0.6/0", "is no URL: in the password, write"),
        ("redis://10.0.0.6/results", "has the database results"),
        ("valkey://10.0.0.6/0", "Valkey is reached by redis://"),
        ("'redis://10.0.0.6/0'", "without quotes"),
        ("10.0.0.6:6379", "is no URL"),
    ],
)
def test_a_result_url_that_celery_could_not_use(url: str, complaint: str) -> None:
    fleet = load_fleet(external({"url": "@BROKER_URL"}, result_backend="@RESULT_URL"))
    with pytest.raises(SecretsError, match=f"secrets/prod.env: RESULT_URL .*{complaint}") as raised:
        endpoint.celery_variables(fleet, {**URL, "RESULT_URL": url})
    assert "a/b" not in str(raised.value)


def test_sentinels() -> None:
    url = "sentinel://:pass@10.0.0.5:26379/0;sentinel://10.0.0.6:26379/0"
    with pytest.raises(SecretsError, match='BROKER_URL is of sentinels: write "master_name"'):
        endpoint.broker(load_fleet(external({"url": "@BROKER_URL"})), {"BROKER_URL": url})
    fleet = load_fleet(external({"url": "@BROKER_URL", "master_name": "shop"}))
    assert endpoint.celery_variables(fleet, {"BROKER_URL": url}) == {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
    here = endpoint.broker(fleet, {"BROKER_URL": url}, way=Way(4000, ("10.0.0.8", 6379)))
    assert here.url == "redis://:pass@127.0.0.1:4000/0", "the primary, through a port that leads to it"


RABBITMQ = {"BROKER_URL": "amqps://shop:pass@mq.example.com/shop;amqps://shop:pass@mq2.example.com/shop"}


def rabbitmq(url: str = RABBITMQ["BROKER_URL"], broker: Any = None, **more: Any) -> Fleet:
    """A fleet with somebody else's RabbitMQ, and a secrets file that says so."""
    path = Path("rabbitmq.env")
    path.touch(mode=0o600)
    path.write_text(f"BROKER_URL={url}\n")
    everywhere = {"result_backend": "none", "secrets_file": str(path), **more}
    return load_fleet(external({"url": "@BROKER_URL", **(broker or {})}, **everywhere))


def test_rabbitmq_of_others() -> None:
    files = {"ca_file": "ca.pem", "certificate_file": "c.pem", "key_file": "c.key"}
    fleet = rabbitmq(broker=files)
    assert (fleet.transport, fleet.broker_host, fleet.redis) == ("amqp", None, None)
    variables = endpoint.celery_variables(fleet, RABBITMQ)
    assert variables == {
        "CELERY_BROKER_URL": "amqps://shop:pass@mq.example.com:5671/shop;amqps://shop:pass@mq2.example.com:5671/shop",
        "CELERY_RESULT_BACKEND": "disabled://",
    }
    assert endpoint.tls_settings(fleet, RABBITMQ) == {
        "broker_use_ssl": {
            "cert_reqs": 2,
            "server_hostname": "mq.example.com",
            "ca_certs": "/etc/fleet-broker/ca.pem",
            "certfile": "/etc/fleet-broker/client.pem",
            "keyfile": "/etc/fleet-broker/client.key",
        }
    }
    here = endpoint.broker(fleet, RABBITMQ, way=Way(4000))
    assert here.url == "amqp://shop:pass@127.0.0.1:4000/shop", "behind a relay that checks name and chain"
    (local,) = {options["ca_certs"] for options in [endpoint.broker(fleet, RABBITMQ, way=Way()).use_ssl] if options}
    assert local == str(Path("ca.pem").resolve())


def test_a_redis_and_a_url_that_is_not_known_yet() -> None:
    assert load_fleet(external({"url": "redis://10.0.0.5/2"})).transport == "redis"
    assert load_fleet(external({"url": "@BROKER_URL"}, secrets_file="none.env")).transport == "redis"
    assert endpoint.tls_settings(load_fleet(external({"url": "@BROKER_URL"})), URL) == {}


WITHOUT: dict[str, dict[str, Any]] = {
    'result_backend: "broker", and RabbitMQ keeps no results': {"result_backend": "broker"},
    "broker.master_name: is of sentinels, and the URL begins with amqps://": {"broker": {"master_name": "shop"}},
}


@pytest.mark.parametrize("text", WITHOUT)
def test_what_does_not_go_with_rabbitmq(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        rabbitmq(**WITHOUT[text])
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(text)


def test_what_the_url_says_of_tls_holds() -> None:
    fleet = load_fleet(external({"url": "@BROKER_URL", "ca_file": "ca.pem"}))
    given = {"BROKER_URL": "rediss://10.0.0.5/0?ssl_cert_reqs=none&ssl_check_hostname=false"}
    assert endpoint.broker(fleet, given).query["ssl_cert_reqs"] == "none"


def test_a_secret_that_is_no_url_is_named() -> None:
    fleet = load_fleet(external({"url": "@BROKER_URL"}))
    with pytest.raises(SecretsError, match=r"secrets/prod.env: BROKER_URL is no URL"):
        endpoint.broker(fleet, {"BROKER_URL": "10.0.0.5"})


MISTAKES: dict[str, dict[str, Any]] = {
    "broker.url: a password does not belong in git": {"url": "redis://:secret@10.0.0.5/0"},
    "broker.url: valkey:// is no scheme of Celery's": {"url": "valkey://10.0.0.5/0"},
    "broker.port: unknown setting": {"url": "@BROKER_URL", "port": 6379},
    "broker.ssl_cert_reqs": {"url": "@BROKER_URL", "ssl_cert_reqs": "maybe"},
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_in_a_broker(text: str) -> None:
    (mistake,) = mistakes(external(MISTAKES[text]))
    assert mistake.startswith(text)
    assert "secret@" not in mistake


def test_a_url_and_a_group_of_brokers() -> None:
    inventory = inventory_of(everywhere={**ALL, "broker": {"url": "@BROKER_URL"}})
    assert mistakes(inventory) == [
        "broker.url: the broker is somebody else's, and the group broker has broker1: leave one of them out"
    ]


def test_a_url_on_some_hosts() -> None:
    inventory = external({"url": "@BROKER_URL"})
    hosts = {**inventory.hosts, "web2": {**ALL, "web_worker": WEB}}
    assert mistakes(Inventory(hosts, {"broker": (), "web": ("web1", "web2")}, inventory.group_data)) == [
        "broker: not the same on web1, web2; write it in group_data/all.py"
    ]


def test_a_host_of_records_that_is_not_there() -> None:
    assert mistakes(inventory_of(everywhere={**ALL, "records_host": "broker2"})) == [
        "records_host: there is no host broker2 in the inventory; did you mean broker1?"
    ]


def test_wrong_results() -> None:
    (mistake,) = mistakes(inventory_of(everywhere={**ALL, "result_backend": "redis"}))
    assert mistake.startswith('result_backend: write "broker", "app", "none", or the name of a secret')


def test_flower_and_sentinels() -> None:
    inventory = external({"url": "@BROKER_URL", "master_name": "shop"})
    hosts = {**inventory.hosts, "web1": {**inventory.hosts["web1"], "monitor": {"flower": True}}}
    groups = {**inventory.groups, "monitor": ("web1",)}
    (mistake,) = mistakes(Inventory(hosts, groups, inventory.group_data))
    assert mistake.startswith("monitor.flower: Flower cannot be told of broker.master_name")
