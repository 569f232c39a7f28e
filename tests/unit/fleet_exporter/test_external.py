"""What an autoscaler is told of a role."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from fleet.spec import certificates
from fleet_exporter import external_server
from fleet_exporter.external import GROUP_VERSION, METRICS, ROOT, respond
from fleet_exporter.settings import External
from fleet_exporter.state import Role
from tests.unit.fleet_exporter.test_exporter import Exporter
from tests.unit.fleet_node.delivery.lease_support import leased, send, until
from tests.unit.shop_support import free_port

ROLES = [Role("web", 45, 8, 1.25), Role("batch", 0, 2, None)]
NOW = "2026-12-01T00:00:00Z"


def ask(metric: str, selector: str = "") -> tuple[int, dict[str, object]]:
    return respond(f"{ROOT}/namespaces/shop/{metric}", f"labelSelector={quote(selector)}", "shop", lambda: ROLES, NOW)


def test_what_there_is() -> None:
    status, body = respond(ROOT, "", "shop", lambda: ROLES, NOW)
    assert (status, body["groupVersion"]) == (200, GROUP_VERSION)
    assert [resource["name"] for resource in body["resources"]] == list(METRICS)


@pytest.mark.parametrize("selector", ["role=web", "role==web", "role in (web)"])
def test_a_role(selector: str) -> None:
    status, body = ask("fleet_role_tasks", selector)
    assert status == 200
    assert body == {
        "kind": "ExternalMetricValueList",
        "apiVersion": GROUP_VERSION,
        "metadata": {},
        "items": [{"metricName": "fleet_role_tasks", "metricLabels": {"role": "web"}, "timestamp": NOW, "value": "45000m"}],
    }
    assert ask("fleet_role_age_ratio", selector)[1]["items"][0]["value"] == "1250m"  # type: ignore[index]


def test_nothing_to_do_is_a_number() -> None:
    assert ask("fleet_role_tasks", "role=batch")[1]["items"][0]["value"] == "0m"  # type: ignore[index]


@pytest.mark.parametrize(
    ("metric", "selector", "status", "why"),
    [
        ("fleet_role_age_ratio", "role=batch", 404, "fleet_role_age_ratio of batch is not known"),
        ("fleet_role_tasks", "role=gone", 404, "fleet_role_tasks of gone is not known"),
        ("up", "role=web", 404, "no metric up: there are fleet_role_tasks"),
        ("fleet_role_tasks", "queue=web", 400, "write role=NAME"),
        ("fleet_role_tasks", "role=web,role=batch", 400, "write role=NAME"),
    ],
)
def test_what_is_not_known_is_an_error_and_no_zero(metric: str, selector: str, status: int, why: str) -> None:
    code, body = ask(metric, selector)
    assert (code, body["kind"], body["code"]) == (status, "Status", status)
    assert why in str(body["message"])


def test_a_broker_that_is_away_scales_nothing_down() -> None:
    def away() -> Sequence[Role]:
        raise OSError("connection refused")

    status, body = respond(f"{ROOT}/namespaces/shop/fleet_role_tasks", "labelSelector=role%3Dweb", "shop", away, NOW)
    assert (status, body["reason"]) == (503, "ServiceUnavailable")


def test_a_broker_with_something_unreadable_in_it_scales_nothing_down() -> None:
    def unreadable() -> Sequence[Role]:
        raise KeyError("slots")

    status, body = respond(f"{ROOT}/namespaces/shop/fleet_role_tasks", "labelSelector=role%3Dweb", "shop", unreadable, NOW)
    assert (status, body["message"]) == (500, "KeyError('slots')")


def test_another_place() -> None:
    assert respond("/apis/other", "", "shop", lambda: ROLES, NOW)[0] == 404


def test_a_fleet_of_another_namespace_is_told_nothing() -> None:
    """Its role may have the same name, and would be scaled by what ours does."""
    place = f"{ROOT}/namespaces/other/fleet_role_tasks"
    status, body = respond(place, "labelSelector=role%3Dweb", "shop", lambda: ROLES, NOW)
    assert (status, body["message"]) == (404, "this is the exporter of the namespace shop: it knows nothing of other")


def test_a_number_that_is_none() -> None:
    for ratio in (float("inf"), float("nan")):
        roles = [Role("web", 1, 1, ratio)]
        place = f"{ROOT}/namespaces/shop/fleet_role_age_ratio"
        assert respond(place, "labelSelector=role%3Dweb", "shop", lambda roles=roles: roles, NOW)[0] == 404  # type: ignore[misc]


@pytest.mark.long
def test_an_exporter_that_is_asked_over_tls(tmp_path: Path) -> None:
    certificates.make(tmp_path / "tls", ["localhost"])
    port = free_port()
    files = {"certificate": str(tmp_path / "tls" / "broker.pem"), "key": str(tmp_path / "tls" / "broker.key")}
    context = ssl.create_default_context(cafile=str(tmp_path / "tls" / "ca.pem"))

    def asked(path: str) -> tuple[int, Any]:
        try:
            with urlopen(f"https://localhost:{port}{path}", context=context, timeout=10) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)

    with leased(tmp_path, lease=4) as here, here.client() as client:
        exporter = Exporter(here, tmp_path / "exporter", external={"namespace": "shop", "port": port, **files})
        place = f"{ROOT}/namespaces/shop/fleet_role_tasks?labelSelector=role%3Dweb"
        with exporter.running():
            assert until(lambda: answers(port))
            assert asked(ROOT)[0] == 200
            assert asked(place)[1]["items"][0]["value"] == "0m"
            silent = socket.create_connection(("127.0.0.1", port))  # who does not shake hands holds up nobody
            for number in range(5):
                send(client, number)
            assert asked(place)[1]["items"][0]["value"] == "5000m"
            silent.close()
            with here.redis() as redis:
                redis.shutdown(nosave=True)
            assert asked(place)[0] == 503


def test_a_client_that_stays_is_cut_off_and_too_many_are_turned_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(external_server, "LONGEST", 1.0)
    monkeypatch.setattr(external_server, "MOST_CLIENTS", 2)
    certificates.make(tmp_path, ["localhost"])
    port = free_port()
    settings = External("shop", port, str(tmp_path / "broker.pem"), str(tmp_path / "broker.key"))
    with external_server.start(settings, "127.0.0.1", lambda: ROLES) as server:
        clients = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(3)]
        *stay, turned_away = clients
        assert turned_away.recv(1) == b"", "there are two already"
        for client in stay:
            client.sendall(b"\x16")  # the beginning of a handshake
        assert [client.recv(1) for client in stay] == [b"", b""]
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

        def asked() -> bool:
            with suppress(OSError), urlopen(f"https://localhost:{port}{ROOT}", context=context, timeout=10) as answer:
                return bool(answer.status == 200)
            return False

        assert until(asked)
        for client in clients:
            client.close()
        with socket.create_connection(("127.0.0.1", port), 20) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert not plain.recv(1000).startswith(b"HTTP")
        server.shutdown()
    assert capfd.readouterr().err == "", "clients that speak no TLS are no news"


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
