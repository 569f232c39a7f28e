"""A RabbitMQ behind TLS, from the control machine: a port without TLS, and a certificate that was checked."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection  # type: ignore[attr-defined]  # kombu's types are unfinished

from fleet.broker import connect
from fleet.broker.forwards import UnreachedError
from fleet.broker.verdict import RefusedError
from fleet.spec import certificates, endpoint
from fleet.spec.endpoint import Way
from fleet.spec.fleet import Fleet
from fleet.spec.load import load_fleet
from tests.unit.fleet.spec.spec_support import ALL, inventory_of
from tests.unit.rabbitmq_support import Node, running_node
from tests.unit.shop_support import free_port

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("app_folder")]

TLS = """
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/broker.pem
ssl_options.keyfile = {folder}/broker.key
ssl_options.verify = verify_none
"""


@pytest.fixture(scope="module")
def tls_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a server that is called localhost, and not 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    certificates.make(folder, ["localhost"])
    return folder


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, folder: Path, tls_port: int) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("rabbitmq"), more=TLS.format(port=tls_port, folder=folder)) as node:
        yield node


def fleet_of(url: str, ca_file: Path | None = None, **more: str) -> tuple[Fleet, dict[str, str]]:
    """A fleet that this machine reaches itself, and its secrets. more: settings of its broker."""
    path = Path("rabbitmq.env")
    path.touch(mode=0o600)
    path.write_text(f"BROKER_URL={url}\n")
    broker = {"url": "@BROKER_URL", "direct": True, **({"ca_file": str(ca_file)} if ca_file else {}), **more}
    everywhere = {**ALL, "broker": broker, "result_backend": "none", "secrets_file": str(path)}
    return load_fleet(inventory_of(brokers=0, everywhere=everywhere)), {"BROKER_URL": url}


def answers(fleet: Fleet, secrets: dict[str, str]) -> str:
    """The URL that programs are given, with which a client of Celery's has connected."""
    with ExitStack() as stack:
        url = stack.enter_context(connect.through({}, fleet, secrets))["CELERY_BROKER_URL"]
        with Connection(url) as connection:  # type: ignore[no-untyped-call]
            connection.default_channel.queue_declare("here", exclusive=True)
        with Celery(broker=url, set_as_current=False) as app:
            assert app.control.inspect(timeout=0.5).ping() is None
        return url


def test_a_port_without_tls(node: Node, folder: Path, tls_port: int) -> None:
    url = answers(*fleet_of(f"amqps://guest:guest@localhost:{tls_port}/%2F", folder / "ca.pem"))
    assert url.startswith("amqp://guest:guest@127.0.0.1:")
    assert f":{tls_port}/" not in url


@pytest.mark.parametrize(
    ("address", "trusted", "refusal"),
    [
        ("127.0.0.1", True, "its certificate is refused: IP address mismatch"),
        ("localhost", False, "its certificate is refused: unable to get local issuer certificate|self-signed"),
    ],
)
def test_a_certificate_that_is_refused(
    node: Node, folder: Path, tls_port: int, address: str, trusted: bool, refusal: str
) -> None:
    fleet, secrets = fleet_of(f"amqps://guest:guest@{address}:{tls_port}/%2F", folder / "ca.pem" if trusted else None)
    with pytest.raises(RefusedError, match=refusal) as caught:
        answers(fleet, secrets)
    assert "guest" not in str(caught.value)


def test_a_node_that_is_away(node: Node, folder: Path, tls_port: int) -> None:
    dead = free_port()
    urls = [f"amqp://guest:guest@127.0.0.1:{port}/%2F" for port in (dead, node.port)]
    assert answers(*fleet_of(";".join(urls))) == f"amqp://guest:guest@127.0.0.1:{node.port}/%2F"
    with pytest.raises(UnreachedError, match=f"amqp://127.0.0.1:{dead}: no RabbitMQ answers there"):
        answers(*fleet_of(urls[0]))
    urls = [f"amqps://guest:guest@localhost:{port}/%2F" for port in (dead, tls_port)]
    fleet, secrets = fleet_of(";".join([*urls, f"amqps://guest:guest@127.0.0.1:{tls_port}/%2F"]), folder / "ca.pem")
    answers(fleet, secrets)
    # A worker that begins with another node, or loses this one, expects the first name of each.
    (problem,) = connect.problems_of_nodes({}, fleet, secrets)
    assert problem.startswith(f"amqps://localhost:{dead}: no TLS with it")
    with pytest.raises(UnreachedError, match=f"amqps://localhost:{dead}: no TLS with it"):
        answers(*fleet_of(urls[0], folder / "ca.pem"))


def test_a_certificate_that_has_ended(tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(days=certificates.SERVER_DAYS + 2)
    certificates.make(tmp_path / "ended", ["localhost"], now=before)
    port = free_port()
    with running_node(tmp_path / "node", more=TLS.format(port=port, folder=tmp_path / "ended")):
        fleet, secrets = fleet_of(f"amqps://guest:guest@localhost:{port}/%2F", tmp_path / "ended" / "ca.pem")
        with pytest.raises(RefusedError, match="its certificate is refused: certificate has expired"):
            answers(fleet, secrets)


def test_a_server_that_asks_for_a_certificate(tmp_path: Path, folder: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "purpose").write_text("extendedKeyUsage = clientAuth\n")
    request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shop", "-keyout", "client.key", "-out", "request"]
    signing = ["x509", "-req", "-in", "request", "-out", "client.pem", "-days", "2", "-extfile", "purpose", "-CAcreateserial"]
    for words in (request, [*signing, "-CAserial", "serial", "-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key"]):
        subprocess.run(["openssl", *words], cwd=own, check=True, capture_output=True)
    port = free_port()
    asks = TLS.replace("verify_none", "verify_peer") + "ssl_options.fail_if_no_peer_cert = true\n"
    with running_node(tmp_path / "node", more=asks.format(port=port, folder=folder)):
        url = f"amqps://guest:guest@localhost:{port}/%2F"
        certificate = {"certificate_file": f"{own}/client.pem", "key_file": f"{own}/client.key"}
        fleet, secrets = fleet_of(url, folder / "ca.pem", **certificate)
        answers(fleet, secrets)
        options = endpoint.broker(fleet, secrets, way=Way()).use_ssl  # what workers have, but for the place of the files
        with Connection(url, ssl=options) as connection:  # type: ignore[no-untyped-call]
            connection.default_channel.queue_declare("here", exclusive=True)
        with pytest.raises((UnreachedError, RefusedError), match="it asks for a certificate: set certificate_file") as caught:
            answers(*fleet_of(url, folder / "ca.pem"))
        assert "\n" not in str(caught.value) and "guest" not in str(caught.value)
