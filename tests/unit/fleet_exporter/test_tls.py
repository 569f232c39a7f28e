"""The exporter believes the broker that its URL names, and no other."""

from pathlib import Path

import pytest

from fleet.spec import certificates
from tests.unit.fleet_exporter.test_exporter import Exporter
from tests.unit.process_support import Machine, machine
from tests.unit.shop_support import free_port

pytestmark = pytest.mark.long


def encrypted(here: Machine, folder: Path) -> int:
    """Have Redis show a certificate for localhost. Returns the port at which it does."""
    port = free_port()
    certificates.make(folder, ["localhost"])
    files = {"ca-cert-file": "ca.pem", "cert-file": "broker.pem", "key-file": "broker.key"}
    options = {**{name: str(folder / file) for name, file in files.items()}, "auth-clients": "no", "port": str(port)}
    with here.redis() as redis:
        redis.execute_command("CONFIG", "SET", *(word for name, value in options.items() for word in (f"tls-{name}", value)))
    return port


@pytest.mark.parametrize(
    ("address", "query", "is_up"),
    [
        ("localhost", "ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs={folder}/ca.pem", True),
        ("127.0.0.1", "ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs={folder}/ca.pem", False),
        ("localhost", "ssl_cert_reqs=required&ssl_check_hostname=true", False),
        ("127.0.0.1", "ssl_cert_reqs=none&ssl_check_hostname=false", True),
    ],
)
def test_the_broker_shows_a_certificate(tmp_path: Path, address: str, query: str, is_up: bool) -> None:
    """The URLs are as a deploy writes them, with `ca_file`, without it, and with `ssl_cert_reqs`."""
    with machine(tmp_path) as here:
        port = encrypted(here, tmp_path / "tls")
        exporter = Exporter(here, tmp_path / "exporter")
        url = f"rediss://monitor:{exporter.password}@{address}:{port}/0?{query.format(folder=tmp_path / 'tls')}"
        (exporter.folder / "broker-url").write_text(f"{url}\n")
        with exporter.running():
            assert exporter.scrape().value("fleet_broker_up") == is_up
