"""Certificates on the control machine: made, renewed, and refused if clients would refuse them."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from fleet.spec import certificates
from fleet.spec.certificates import CertificateError
from fleet.spec.fleet import Fleet
from fleet.spec.load import load_fleet
from tests.unit.fleet.spec.test_endpoint import external, fleet_with
from tests.unit.shop_support import answering, free_port, process, redis_server

pytestmark = pytest.mark.usefixtures("app_folder")

NAMES = ["10.0.0.10", "127.0.0.1", "broker1", "localhost"]
NOW = datetime.now(UTC)


@pytest.fixture
def fleet() -> Fleet:
    """Its secrets file is secrets/prod.env."""
    return fleet_with({"tls": True})


@pytest.fixture
def folder(fleet: Fleet) -> Path:
    """Certificates that are good."""
    folder = certificates.folder_of(fleet)
    assert len(certificates.make(folder, NAMES)) == 2
    return folder


def test_they_are_made_once(fleet: Fleet, folder: Path) -> None:
    assert folder == Path("secrets/prod-tls")
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ("ca.pem", "ca.key", "broker.pem", "broker.key"), 0o600
    )
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert certificates.make(folder, NAMES) == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    read = certificates.read(fleet)
    assert (read.authorities, read.certificate, read.key) == tuple(
        before[name] for name in ("ca.pem", "broker.pem", "broker.key")
    )
    assert "PRIVATE" not in repr(read)
    assert certificates.ending_soon(fleet, read) == []


def test_openssl_agrees(folder: Path) -> None:
    for check in (("-verify_ip", "10.0.0.10"), ("-verify_hostname", "broker1")):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", *check, "broker.pem"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_a_renewed_certificate_is_by_the_same_authority(fleet: Fleet, folder: Path) -> None:
    authority, server = (folder / "ca.pem").read_bytes(), (folder / "broker.pem").read_bytes()
    (line,) = certificates.make(folder, NAMES, renew=True)
    assert line.startswith("secrets/prod-tls/broker.pem: for 10.0.0.10, 127.0.0.1")
    assert (folder / "ca.pem").read_bytes() == authority
    assert (folder / "broker.pem").read_bytes() != server
    certificates.read(fleet)


@pytest.mark.parametrize(("days", "written"), [(690, 0), (705, 1), (731, 1), (2900, 1), (3000, 2)])
def test_what_ends_soon_is_renewed(fleet: Fleet, folder: Path, days: int, written: int) -> None:
    """A server's certificate is good for two years, an authority's for ten: it has to outlive what it signs."""
    then = NOW + timedelta(days=days)
    assert len(certificates.make(folder, NAMES, now=then)) == written
    assert certificates.ending_soon(fleet, certificates.read(fleet, then), then) == []
    authorities = (folder / "ca.pem").read_text().count("BEGIN CERTIFICATE")
    assert authorities == (2 if written == 2 else 1), "who is trusted before a deploy is trusted after it"


def test_another_address_needs_another_certificate(fleet: Fleet, folder: Path) -> None:
    assert len(certificates.make(folder, ["10.0.0.11", *NAMES[1:]])) == 1
    with pytest.raises(CertificateError, match=r"broker.pem: is not valid for 10.0.0.10.*fleet certificates INVENTORY --renew"):
        certificates.read(fleet)


def test_it_has_to_be_for_the_address_that_workers_connect_to(fleet: Fleet) -> None:
    """No authority signs 127.0.0.1 for a user, and a host may have a name that is no domain name."""
    assert certificates.names_of(fleet) == ["10.0.0.10"]
    certificates.make(certificates.folder_of(fleet), ["10.0.0.10"])
    certificates.read(fleet)


def test_a_users_own_are_not_overwritten(folder: Path) -> None:
    (folder / "ca.key").unlink()
    with pytest.raises(CertificateError, match="its certificates are yours"):
        certificates.make(folder, NAMES, renew=True)


def test_a_certificate_that_ends_within_a_month_is_named(fleet: Fleet, folder: Path) -> None:
    then = NOW + timedelta(days=710)
    (line,) = certificates.ending_soon(fleet, certificates.read(fleet, then), then)
    assert line.startswith("secrets/prod-tls/broker.pem: ends in 19 days, on ") or "in 20 days" in line
    assert line.endswith("; run fleet certificates INVENTORY, and deploy")
    (folder / "ca.key").unlink()
    (line,) = certificates.ending_soon(fleet, certificates.read(fleet, then), then)
    assert line.endswith("; put its successor there, and deploy")


def test_what_clients_would_refuse_is_refused(fleet: Fleet, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"broker.pem: has ended on .*--renew"):
        certificates.read(fleet, NOW + timedelta(days=731))
    certificates.make(tmp_path / "other", NAMES)
    key = (folder / "broker.key").read_bytes()
    (folder / "broker.key").write_bytes((tmp_path / "other" / "broker.key").read_bytes())
    with pytest.raises(CertificateError, match=r"broker.key: is not the key of secrets/prod-tls/broker.pem"):
        certificates.read(fleet)
    (folder / "broker.key").write_bytes(key)
    (folder / "broker.key").chmod(0o644)
    with pytest.raises(CertificateError, match=r"broker.key: others can read it; run: chmod 600"):
        certificates.read(fleet)
    (folder / "broker.key").chmod(0o600)
    (folder / "ca.pem").write_bytes((tmp_path / "other" / "ca.pem").read_bytes())
    with pytest.raises(CertificateError, match=r"broker.pem: is not valid for 10.0.0.10"):
        certificates.read(fleet)
    (folder / "ca.key").unlink()
    with pytest.raises(CertificateError, match=r"; yours has to be for 10.0.0.10$"):
        certificates.read(fleet)
    (folder / "ca.pem").write_text("no certificate")
    with pytest.raises(CertificateError, match=r"ca.pem: no certificate in PEM format"):
        certificates.read(fleet)
    for name in ("ca.pem", "broker.key"):
        (folder / name).unlink()
    with pytest.raises(CertificateError) as caught:
        certificates.read(fleet)
    assert str(caught.value).splitlines() == [
        f"secrets/prod-tls/{name}: no such file; make it with: fleet certificates INVENTORY" for name in ("ca.pem", "broker.key")
    ]


def test_those_of_a_broker_that_is_not_ours(folder: Path) -> None:
    given = {"url": "@BROKER_URL", "ca_file": str(folder / "ca.pem")}
    pair = {"certificate_file": str(folder / "broker.pem"), "key_file": str(folder / "broker.key")}
    assert certificates.read(load_fleet(external({"url": "@BROKER_URL"}))).authorities == b""
    assert certificates.read(load_fleet(external({**given, **pair}))).key.startswith(b"-----BEGIN PRIVATE KEY")
    with pytest.raises(CertificateError, match="a certificate needs its key"):
        certificates.read(load_fleet(external({**given, "certificate_file": str(folder / "broker.pem")})))
    with pytest.raises(CertificateError, match=r"missing.pem: no such file$"):
        certificates.read(load_fleet(external({"url": "@BROKER_URL", "ca_file": "missing.pem"})))
    with pytest.raises(CertificateError, match=r"ca.pem: has ended on"):
        certificates.read(load_fleet(external(given)), NOW + timedelta(days=4000))
    with pytest.raises(CertificateError, match=r"ca.pem: is not valid before"):
        certificates.read(load_fleet(external(given)), NOW - timedelta(days=1))


def test_a_real_redis_shows_it_and_a_client_believes_it(folder: Path) -> None:
    port, plain = free_port(), free_port()
    files = {"ca-cert-file": "ca.pem", "cert-file": "broker.pem", "key-file": "broker.key"}
    flags = [word for name, file in files.items() for word in (f"--tls-{name}", str((folder / file).resolve()))]
    more = ["--tls-port", str(port), "--tls-auth-clients", "no", "--save", ""]
    with process(redis_server(plain, folder, *flags, *more), folder / "redis.log"):
        answering(plain)
        query = f"ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs={folder / 'ca.pem'}"
        for name in ("127.0.0.1", "localhost"):
            with Redis.from_url(f"rediss://{name}:{port}/0?{query}") as client:
                assert client.ping()


def test_the_key_of_a_client_is_secret_whatever_its_name(folder: Path) -> None:
    key = folder / "client-key.pem"
    key.write_bytes((folder / "broker.key").read_bytes())
    files = {
        "url": "@BROKER_URL",
        "ca_file": str(folder / "ca.pem"),
        "certificate_file": str(folder / "broker.pem"),
        "key_file": str(key),
    }
    key.chmod(0o644)
    with pytest.raises(CertificateError, match=r"client-key.pem: others can read it; run: chmod 600"):
        certificates.read(load_fleet(external(files)))
    key.chmod(0o600)
    assert certificates.read(load_fleet(external(files))).key == key.read_bytes()
