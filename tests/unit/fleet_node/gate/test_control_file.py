"""How a drain and a gate reach a broker with TLS without the app, and without a secret of it."""

import json
import ssl
from typing import Any

import pytest
from celery import Celery

from fleet_node.gate import control_file


@pytest.mark.parametrize(
    ("of_app", "left"),
    [
        (None, None),
        (True, True),
        ({"ca_certs": "/ca.pem", "cert_reqs": ssl.CERT_REQUIRED}, {"ca_certs": "/ca.pem", "cert_reqs": 2}),
        ({"ssl_keyfile": "/key.pem", "ssl_password": "secret"}, {"ssl_keyfile": "/key.pem"}),
        ({"keyfile": "/key.pem", "password": "secret"}, {"keyfile": "/key.pem"}),
    ],
)
def test_files_are_named_and_no_password_is_kept(of_app: Any, left: Any) -> None:
    app = Celery(set_as_current=False)
    app.conf.broker_use_ssl = of_app
    control = json.loads(json.dumps(control_file.of(app), default=list))
    assert control_file.combined(control)["broker_use_ssl"] == (left or None)


def test_before_a_worker_has_run_the_fleets_own_settings_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert control_file.combined({})["broker_use_ssl"] is None
    monkeypatch.setenv("FLEET_CELERY", json.dumps({"settings": {"broker_use_ssl": {"ca_certs": "/ca.pem"}}}))
    assert control_file.combined({})["broker_use_ssl"] == {"ca_certs": "/ca.pem"}
    own = control_file.combined({"broker_use_ssl": {"ca_certs": "/own.pem"}})
    assert own["broker_use_ssl"] == {"ca_certs": "/own.pem"}


def test_the_fleet_says_where_messages_are_as_it_does_to_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"master_name": "shop", "visibility_timeout": 60}
    monkeypatch.setenv("FLEET_CELERY", json.dumps({"broker_transport_options": options}))
    assert control_file.combined({})["broker_transport_options"] == {"master_name": "shop"}
    left = control_file.combined({"broker_transport_options": {"master_name": "before", "sep": ":"}, "control_exchange": "c"})
    assert left["broker_transport_options"] == {"master_name": "shop", "sep": ":"}
    assert (left["result_backend_transport_options"], left["control_exchange"]) == ({}, "c")
