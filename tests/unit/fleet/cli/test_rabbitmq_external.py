"""A RabbitMQ of others behind TLS: commands reach it through a machine, and check its certificate."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from ssl import CERT_REQUIRED

import pytest
from amqp import Connection

from fleet.spec import certificates
from tests.unit.fleet.cli.native_support import GROUP_DATA, Project, project
from tests.unit.fleet_node.broker.rabbitmq_machine import APP, settings
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.rabbitmq_support import Node, Vhost, running_node
from tests.unit.shop_support import free_port

pytestmark = pytest.mark.slow

ALL = GROUP_DATA["all"] + 'broker = {"url": "@BROKER_URL", "ca_file": "ca.pem"}\nresult_backend = "none"\n'
TLS = """
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/broker.pem
ssl_options.keyfile = {folder}/broker.key
"""


@dataclass(frozen=True)
class Server:
    """A RabbitMQ. folder: of its certificates, which are for localhost. port: with TLS."""

    node: Node
    folder: Path
    port: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("tls"), free_port()
    certificates.make(folder, ["localhost"])
    with running_node(tmp_path_factory.mktemp("rabbitmq"), more=TLS.format(port=port, folder=folder)) as node:
        yield Server(node, folder, port)


@pytest.fixture
def vhost(server: Server) -> Iterator[Vhost]:
    with server.node.vhost() as vhost:
        yield vhost


@pytest.fixture
def others(tmp_path: Path, server: Server, vhost: Vhost) -> Iterator[Project]:
    """A fleet that uses it."""
    (tmp_path / "here").mkdir()
    with project(tmp_path, external=True, group_data={"all": ALL}) as made:
        shutil.copy(server.folder / "ca.pem", made.folder)
        url = f"amqps://guest:guest@localhost:{server.port}/{vhost.name}"
        give_url(made, url)
        use_ssl = {"ca_certs": str(server.folder / "ca.pem"), "cert_reqs": int(CERT_REQUIRED), "server_hostname": "localhost"}
        made.here.broker = url
        made.here.more = {"FLEET_CELERY": json.dumps(settings(broker_use_ssl=use_ssl)), "FLEET_LOG": "text"}
        yield made


def give_url(project: Project, url: str) -> None:
    (project.folder / "s.env").write_text(f"BROKER_URL={url}\n")


def url_of(project: Project) -> str:
    return (project.folder / "s.env").read_text().strip().removeprefix("BROKER_URL=")


@pytest.mark.slow
def test_a_worker_and_commands_behind_tls(others: Project) -> None:
    others.here.start(others.here.release("r", APP), queues=("default",))
    call = [sys.executable, "-m", "celery", "inspect", "ping", "--timeout", "5"]
    done = others.fleet("connect", "prod.py", "--", *call)
    assert done.returncode == 0, done.stderr
    assert "pong" in done.stdout
    (worker,) = others.json("load", "prod.py")["workers"].values()
    assert worker["state"] == "idle"
    assert until(lambda: others.json("queues", "prod.py", "--seconds", "0")["queues"]["default"]["consumers"] == 1)
    lint = others.fleet("lint", "prod.py", "--no-app")
    assert "[preflight]" not in lint.stdout.replace("wait", ""), lint.stdout + lint.stderr


def test_a_queue_that_somebody_has_declared_otherwise(others: Project, vhost: Vhost) -> None:
    with Connection(f"127.0.0.1:{vhost.node.port}", virtual_host=vhost.name) as connection:
        connection.channel().queue_declare("default", durable=True, auto_delete=False)
    lint = others.fleet("lint", "prod.py", "--no-app")
    assert lint.returncode == 1
    assert "the broker (BROKER_URL) is of no use: the queue default is there as a classic queue" in lint.stdout


def test_what_is_wrong_with_it_is_one_line(others: Project, server: Server, vhost: Vhost, tmp_path: Path) -> None:
    good = url_of(others)
    certificates.make(tmp_path / "another", ["localhost"])
    shutil.copy(tmp_path / "another" / "ca.pem", others.folder / "another.pem")
    group_data = others.folder / "group_data" / "all.py"
    group_data.write_text(ALL.replace("ca.pem", "another.pem"))
    assert "its certificate is refused: self-signed certificate in certificate chain" in _one_line(others, good)
    group_data.write_text(ALL)
    cases = [
        (good.replace("localhost", "127.0.0.1"), "its certificate is refused: IP address mismatch"),
        (good.replace("guest:guest", "guest:wrong"), "refuses the user or the password"),
        (good.replace(vhost.name, "nowhere"), "no virtual host nowhere"),
        (good.replace(str(server.port), str(server.node.port)), "no TLS with it from web1"),
        (good.replace("amqps", "amqp"), "no RabbitMQ answers there, from web1"),
        (good.replace(str(server.port), str(free_port())), "no TLS with it from web1"),
        (good.replace("guest:guest", "gu/est:guest"), "s.env: BROKER_URL is no URL"),
    ]
    for url, why in cases:
        assert why in _one_line(others, url), url


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("guest:guest", "guest:wrong", "it refuses the user or the password"),
        ("localhost", "127.0.0.1", "its certificate is refused: IP address mismatch"),
    ],
)
def test_lint_refuses_a_broker_that_does_not_let_the_fleet_in(others: Project, before: str, after: str, why: str) -> None:
    give_url(others, url_of(others).replace(before, after))
    lint = others.fleet("lint", "prod.py", "--no-app")
    assert lint.returncode == 1
    assert why in lint.stdout
    assert "guest:" not in lint.stdout


def _one_line(project: Project, url: str) -> str:
    give_url(project, url)
    done = project.fleet("queues", "prod.py")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert "guest:" not in line
    return line
