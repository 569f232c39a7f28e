"""What lint says of the certificates of connections to the broker, before a deploy refuses them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet.lint.run import about_certificates
from fleet.spec import certificates
from fleet.spec.fleet import Fleet
from fleet.spec.load import load_fleet
from tests.unit.fleet.spec.test_endpoint import external, fleet_with

pytestmark = pytest.mark.usefixtures("app_folder")
NAMES = ["10.0.0.10", "127.0.0.1", "broker1", "localhost"]
NOW = datetime.now(UTC)


@pytest.fixture
def own() -> Fleet:
    """A fleet whose own Redis has good certificates in secrets/prod-tls."""
    fleet = fleet_with({"tls": True})
    certificates.make(certificates.folder_of(fleet), NAMES)
    return fleet


def findings_of(fleet: Fleet, days: int = 0) -> list[tuple[str, str, str]]:
    """(level, path, message) after some days."""
    return [(of.level, of.path, of.message) for of in about_certificates(fleet, now=NOW + timedelta(days=days))]


def test_certificates_that_are_good_are_not_named(own: Fleet) -> None:
    assert findings_of(own) == findings_of(own, 690) == []
    assert findings_of(fleet_with({})) == [], "there are none without TLS"


def test_a_certificate_that_ends_soon_is_a_warning_each_day(own: Fleet) -> None:
    (first,), (second,) = findings_of(own, 705), findings_of(own, 710)
    assert first[:2] == second[:2] == ("warning", "secrets/prod-tls/broker.pem")
    assert first[2].startswith("ends in 2") and first != second
    assert all(finding.counts for finding in about_certificates(own, now=NOW + timedelta(days=705)))


def test_a_certificate_that_has_ended_is_an_error(own: Fleet) -> None:
    ((level, path, message),) = findings_of(own, 731)
    assert (level, path) == ("error", "secrets/prod-tls/broker.pem")
    assert message.startswith("has ended on ") and message.endswith("make a new one with: fleet certificates INVENTORY --renew")


def test_a_certificate_of_other_addresses_or_of_another_key_is_an_error(own: Fleet, tmp_path: Path) -> None:
    folder = certificates.folder_of(own)
    certificates.make(folder, ["10.9.9.9"])
    ((level, path, message),) = findings_of(own)
    assert (level, path) == ("error", "secrets/prod-tls/broker.pem")
    assert message.startswith("is not valid for 10.0.0.10")
    certificates.make(tmp_path / "other", NAMES)
    (folder / "broker.key").write_bytes((tmp_path / "other" / "broker.key").read_bytes())
    assert findings_of(own) == [("error", "secrets/prod-tls/broker.key", "is not the key of secrets/prod-tls/broker.pem")]


def test_missing_files_are_an_error_unless_the_secrets_are_elsewhere(own: Fleet) -> None:
    folder = certificates.folder_of(own)
    (folder / "broker.pem").unlink()
    ((level, path, message),) = findings_of(own)
    assert (level, path, message[:12]) == ("error", "secrets/prod-tls/broker.pem", "no such file")
    for file in folder.iterdir():
        file.unlink()
    assert len(findings_of(own)) == 3
    assert about_certificates(own, has_secrets=False) == (), "as in CI, without the files that git does not have"


def test_the_files_of_a_broker_that_is_not_ours(own: Fleet) -> None:
    folder = certificates.folder_of(own)
    paths = {"ca_file": "ca.pem", "certificate_file": "broker.pem", "key_file": "broker.key"}
    given = {name: str(folder / file) for name, file in paths.items()}
    others = load_fleet(external({"url": "@BROKER_URL", **given}))
    assert findings_of(others) == []
    assert [(level, path) for level, path, _ in findings_of(others, 710)] == [("warning", given["certificate_file"])]
    assert [(level, path) for level, path, _ in findings_of(others, 731)] == [("error", given["certificate_file"])]
    missing = load_fleet(external({"url": "@BROKER_URL", "ca_file": "none.pem"}))
    assert findings_of(missing) == [("error", "none.pem", "no such file")]
