"""The files of a step come back, and the machine knows which of its units are not verified."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from fleet_node.protocol import SNAPSHOT, SNAPSHOT_FILES, UNVERIFIED
from fleet_node.step.snapshot import UNIT_FOLDER, Snapshot
from fleet_node.step.systemd import Systemd

OLD, NEW = "celery-web@1.service", "celery-web@2.service"


class Units(Systemd):
    """Records its calls."""

    def __init__(self, starts: bool = True) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self._starts = starts

    def bring(self, verb: str, units: Iterable[str]) -> bool:
        self.calls.append((verb, list(units)))
        return self._starts

    def stop(self, units: Iterable[str]) -> None:
        self.calls.append(("stop", list(units)))

    def disable(self, units: Iterable[str]) -> None:
        self.calls.append(("disable", list(units)))

    def reload(self) -> None:
        self.calls.append(("reload", []))


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """Of a step that changes one unit and creates another."""
    folder = tmp_path / UNIT_FOLDER.lstrip("/")
    folder.mkdir(parents=True)
    (folder / OLD).write_text("old")
    snapshot = Snapshot(tmp_path / "var", tmp_path)
    snapshot.save([OLD, NEW], [f"{UNIT_FOLDER}/{OLD}", f"{UNIT_FOLDER}/{NEW}"])
    for unit in (OLD, NEW):
        (folder / unit).write_text("new")
    return snapshot


def test_units_are_unverified_from_the_snapshot_until_they_are_verified(snapshot: Snapshot, tmp_path: Path) -> None:
    assert (tmp_path / "var" / UNVERIFIED).read_text() == f"{OLD}\n{NEW}\n"
    assert snapshot.unverified() == [OLD, NEW]
    snapshot.mark_verified()
    assert not (tmp_path / "var" / UNVERIFIED).exists()
    assert (snapshot.unverified(), snapshot.exists()) == ([], True)


def test_only_root_reads_it(snapshot: Snapshot, tmp_path: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "var").iterdir()}
    assert modes == {SNAPSHOT: 0o600, SNAPSHOT_FILES: 0o600, UNVERIFIED: 0o600}


def test_a_step_is_put_back(snapshot: Snapshot, tmp_path: Path) -> None:
    units = Units()
    assert snapshot.put_back(units)
    assert [path.name for path in (tmp_path / UNIT_FOLDER.lstrip("/")).iterdir()] == [OLD]
    assert (tmp_path / UNIT_FOLDER.lstrip("/") / OLD).read_text() == "old"
    assert units.calls == [("stop", [NEW]), ("disable", [NEW]), ("reload", []), ("restart", [OLD])]
    assert not snapshot.exists()
    assert not snapshot.put_back(units)  # there is nothing to put back any more


def test_a_step_whose_old_workers_do_not_start_keeps_its_snapshot(snapshot: Snapshot) -> None:
    assert not snapshot.put_back(Units(starts=False))
    assert (snapshot.exists(), snapshot.unverified()) == (True, [OLD, NEW])


def test_what_is_unverified_stays_so_if_a_snapshot_cannot_be_made(
    snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, or the machine is reset in between: the workers of the step before are still to be verified."""
    monkeypatch.setenv("PATH", str(tmp_path))  # there is no tar
    with pytest.raises(FileNotFoundError):
        snapshot.save([OLD, "celery-web@3.service"], ())
    assert snapshot.unverified() == [OLD, NEW]
    assert not snapshot.exists()


def test_nothing_stays_when_it_is_discarded(snapshot: Snapshot, tmp_path: Path) -> None:
    for name in ("before.json", "before.tar"):  # as releases before it left them
        (tmp_path / "var" / name).write_text("{}")
    snapshot.discard()
    assert list((tmp_path / "var").iterdir()) == []
