"""What the control machine keeps between runs: files that are whole or not there, and that nobody else reads."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet.inventory import kept, last_facts
from fleet.inventory.last_facts import LastFacts, SeenFacts
from fleet.plan.facts import MachineFacts
from fleet.plan.gpu import Device, GpuReport

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
GPUS = GpuReport((Device(0, 0, "GPU-0", "H100"),), on_bus=1, driver="535.261.03", cuda=(12, 2), memory=(80 << 30,))
MACHINE = MachineFacts(8, 16 << 30, 1, GPUS)


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "prod.py"


def test_facts_come_back_as_they_were(inventory: Path) -> None:
    assert last_facts.read(inventory) == (LastFacts(), "")
    assert last_facts.keep(inventory, {"web1": MACHINE, "web2": MACHINE}, ["web1", "web2"]) == ""
    seen, complaint = last_facts.read(inventory)
    assert (seen.hosts["web1"].facts, complaint) == (MACHINE, "")


def test_other_hosts_stay_and_those_that_left_the_inventory_are_forgotten(inventory: Path) -> None:
    last_facts.keep(inventory, {"web1": MACHINE, "web2": MACHINE}, ["web1", "web2"])
    last_facts.keep(inventory, {"web3": MACHINE}, ["web1", "web3"])
    assert sorted(last_facts.read(inventory)[0].hosts) == ["web1", "web3"]


def test_the_files_are_ours_alone(inventory: Path) -> None:
    last_facts.keep(inventory, {"web1": MACHINE}, ["web1"])
    folder = kept.folder(inventory)
    assert [(file.name, file.stat().st_mode & 0o777) for file in folder.iterdir()] == [("facts.json", 0o600)]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_another_inventory_has_files_of_its_own(inventory: Path, tmp_path: Path) -> None:
    assert kept.folder(inventory) != kept.folder(tmp_path / "other" / "prod.py")
    assert kept.folder(inventory) == kept.folder(tmp_path / "other" / ".." / "prod.py")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged, or of another version"),
        (b'{"version": 2, "hosts": {}}', "damaged, or of another version"),
        (b'{"version": 1, "hosts": {"web1": {"at": "2026-11-29T12:00:00", "facts": {"cores": 1, "memory": 1}}}}', "damaged"),
        (b'{"version": 1, "hosts": {"web1": {"at": "2026-11-29T12:00:00Z", "facts": {"cores": 0, "memory": 1}}}}', "damaged"),
        (b" " * (kept.MOST + 1), "larger than 8 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_ignored_and_said(inventory: Path, content: bytes, why: str) -> None:
    last_facts.keep(inventory, {"web1": MACHINE}, ["web1"])
    (kept.folder(inventory) / "facts.json").write_bytes(content)
    seen, complaint = last_facts.read(inventory)
    assert seen == LastFacts()
    assert why in complaint
    assert last_facts.keep(inventory, {"web1": MACHINE}, ["web1"]) == ""
    assert last_facts.read(inventory)[1] == ""


def test_what_is_too_large_is_not_written(inventory: Path) -> None:
    large = MachineFacts(1, 1, 0, GpuReport(trouble="x" * kept.MOST))
    assert "larger than 8 MiB" in last_facts.keep(inventory, {"web1": large}, ["web1"])
    assert last_facts.read(inventory) == (LastFacts(), "")


def test_a_file_that_cannot_be_written_leaves_nothing_behind(inventory: Path) -> None:
    (kept.folder(inventory) / "facts.json").mkdir(parents=True)
    assert "not written: Is a directory; XDG_STATE_HOME says where" in last_facts.keep(inventory, {"web1": MACHINE}, ["web1"])
    assert [file.name for file in kept.folder(inventory).iterdir()] == ["facts.json"]


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=-5), "less than a minute"),
        (timedelta(seconds=59), "less than a minute"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(hours=3, minutes=59), "3 hours"),
        (timedelta(days=40), "40 days"),
    ],
)
def test_how_old_facts_are(ago: timedelta, words: str) -> None:
    assert SeenFacts(NOW - ago, MACHINE).age(NOW) == words
