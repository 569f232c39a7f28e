"""`fleet certificates`: what a user types makes what a deploy reads, and renews it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fleet.cli.main import app
from fleet.errors import FleetError
from fleet.inventory.read import read_inventory
from fleet.spec import certificates
from fleet.spec.load import load_fleet
from tests.unit.fleet.cli.cli_support import make_project

FILES = ("ca.pem", "ca.key", "broker.pem", "broker.key")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["certificates", "prod.py", *words])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose Redis has TLS. Returns where its certificates belong."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "group_data" / "all.py").open("a") as file:
        file.write("broker = {'tls': True}\n")
    return tmp_path / "s-tls"


def test_they_are_made_once_and_renewed_if_asked(folder: Path) -> None:
    made = run()
    assert made.exit_code == 0, made.output
    assert [line.partition(":")[0] for line in made.stdout.splitlines()] == ["s-tls/ca.pem", "s-tls/broker.pem"]
    certificates.read(load_fleet(read_inventory(Path("prod.py"))))
    first = {name: (folder / name).read_bytes() for name in FILES}
    again = run()
    assert again.stdout.startswith("s-tls: all is there; ca.pem ends on ")
    assert {name: (folder / name).read_bytes() for name in FILES} == first
    renewed = json.loads(run("--renew", "--json").stdout)
    assert [line.partition(":")[0] for line in renewed["written"]] == ["s-tls/broker.pem"]
    assert set(renewed["ends"]) == {"ca.pem", "broker.pem"}
    assert (folder / "broker.pem").read_bytes() != first["broker.pem"]
    assert (folder / "ca.pem").read_bytes() == first["ca.pem"], "who trusted it does so still"


def test_without_tls_nothing_uses_them_yet(folder: Path) -> None:
    data = folder.parent / "group_data" / "all.py"
    data.write_text(data.read_text().replace("'tls': True", "'tls': False"))
    assert 'nothing uses them yet: write "tls": True' in run().stdout


def test_those_of_a_broker_of_others_are_its_owners(folder: Path) -> None:
    data = folder.parent / "group_data" / "all.py"
    data.write_text(data.read_text().replace("{'tls': True}", "{'url': '@BROKER_URL'}"))
    (folder.parent / "prod.py").write_text("web = ['web1']\n")
    done = run()
    assert isinstance(done.exception, FleetError)
    assert str(done.exception) == "the broker is not this fleet's: its certificate is its owner's"
    assert not folder.exists()
