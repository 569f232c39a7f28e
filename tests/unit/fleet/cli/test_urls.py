"""`fleet urls`: what programs outside of the fleet need to send tasks."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fleet.cli.main import app
from fleet.spec.rabbitmq import account
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER, COOKIE
from tests.unit.fleet.cli.cli_support import make_project

SECRETS = {BROKER_WORKER: "se/cret", BROKER_MONITOR: "other", COOKIE: "cookie", "BROKER_URL": "redis://:p%26w@10.0.0.5:6400/2"}
BROKER = "broker = ['10.0.0.10', '10.0.0.11', '10.0.0.12']\nbroker = [(name, {'lan_address': name}) for name in broker]\n"


def urls(folder: Path, monkeypatch: pytest.MonkeyPatch, broker: str, *words: str) -> Result:
    make_project(folder)
    monkeypatch.chdir(folder)
    (folder / "s.env").touch(mode=0o600)
    (folder / "s.env").write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    with (folder / "group_data" / "all.py").open("a") as file:
        file.write(f"broker = {broker}\n")
    if "rabbitmq" in broker:
        (folder / "prod.py").write_text(f"{BROKER}web = ['web1']\n")
        with (folder / "group_data" / "all.py").open("a") as file:
            file.write("result_backend = 'none'\n")
    if "url" in broker:
        (folder / "prod.py").write_text("web = ['web1']\n")
    return CliRunner().invoke(app, ["urls", "prod.py", *words])


def test_a_shell_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = urls(tmp_path, monkeypatch, "{'url': '@BROKER_URL'}")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [shlex.split(line) for line in done.stdout.splitlines()] == [
        ["CELERY_BROKER_URL=redis://:p%26w@10.0.0.5:6400/2"],
        ["CELERY_RESULT_BACKEND=redis://:p%26w@10.0.0.5:6400/2"],
    ]


def test_with_tls_the_authority_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = urls(tmp_path, monkeypatch, "{'tls': True}")
    assert done.exit_code == 0, done.output
    query = "ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs=/etc/fleet-broker/ca.pem"
    assert done.stdout.splitlines()[0] == f"CELERY_BROKER_URL='rediss://worker:se%2Fcret@10.0.0.10:6380/0?{query}'"
    assert done.stderr == "copy s-tls/ca.pem to /etc/fleet-broker/ca.pem there, or write where it is in place of that\n"


def test_all_nodes_of_a_rabbitmq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = urls(tmp_path, monkeypatch, "{'kind': 'rabbitmq', 'tls': True}", "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    name = account("worker", SECRETS[BROKER_WORKER]).name
    assert printed["CELERY_BROKER_URL"].split(";") == [f"amqps://{name}:se%2Fcret@10.0.0.{n}:5671/fleet" for n in (10, 11, 12)]
    assert printed["CELERY_RESULT_BACKEND"] == "disabled://"
    assert printed["broker_use_ssl"]["server_hostname"] == "10.0.0.10"
    assert list(printed["files"]) == ["/etc/fleet-broker/ca.pem"]


def test_what_a_url_cannot_say_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SECRETS, "BROKER_URL", "sentinel://:pw@10.0.0.5:26379/0;sentinel://10.0.0.6:26379")
    done = urls(tmp_path, monkeypatch, "{'url': '@BROKER_URL', 'master_name': 'shop'}")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == [
        "and in Celery's settings: broker_transport_options = {'master_name': 'shop'}",
        "and in Celery's settings: result_backend_transport_options = {'master_name': 'shop'}",
    ]
