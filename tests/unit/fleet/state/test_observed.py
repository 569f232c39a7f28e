"""The probe, run for real by sh on this machine, below a folder of its own."""

import os
import platform
import subprocess
from pathlib import Path as LocalPath

import pytest

from fleet.state import archive, observed
from fleet.state.desired import Directory, File, State
from fleet.state.diff import compare
from fleet.state.observed import ObservedMachine


def run(destdir: str) -> ObservedMachine:
    command = observed.command(("coreutils", "no-such-package"), ("root", "no-such-user"), destdir)
    output = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    return observed.parse(output.splitlines(), destdir)


def wanted() -> State:
    user, group = "root", "root"
    return State(
        directories=(Directory("/etc/fleet", 0o750, user, group), Directory("/opt/fleet", 0o755, user, group)),
        files=(
            File("/etc/fleet/web.env", b"A='x y'\n", 0o640, user, group),
            File("/etc/systemd/system/celery-web@1.service", b"[Service]\n", 0o644, user, group),
        ),
    )


def test_this_machine_is_seen(tmp_path: LocalPath) -> None:
    seen = run(str(tmp_path))
    assert seen.cores == len(os.sched_getaffinity(0))
    assert seen.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert seen.architecture == platform.machine()
    assert seen.users == {"root"}
    assert seen.packages == {"coreutils"}
    assert seen.paths == {}


@pytest.mark.skipif(os.getuid() != 0, reason="owners can be set by root alone")
def test_what_the_archive_brought_is_what_was_wanted(tmp_path: LocalPath) -> None:
    destdir = str(tmp_path)
    changes = compare(wanted(), run(destdir))
    assert [entry.path for entry in changes.write] == [
        "/etc/fleet",
        "/opt/fleet",
        "/etc/fleet/web.env",
        "/etc/systemd/system/celery-web@1.service",
    ]
    packed = archive.as_text(archive.pack(changes.write, destdir))
    subprocess.run(["sh", "-c", archive.UNPACK], input=packed, text=True, check=True)
    assert (tmp_path / "etc/fleet/web.env").read_bytes() == b"A='x y'\n"
    assert (tmp_path / "etc/fleet/web.env").stat().st_mode & 0o777 == 0o640
    assert not compare(wanted(), run(destdir)).write
    (tmp_path / "etc/fleet/web.env").write_text("A=2\n")
    assert [entry.path for entry in compare(wanted(), run(destdir)).write] == ["/etc/fleet/web.env"]


def test_a_directory_that_was_moved_and_linked_stays_linked(tmp_path: LocalPath) -> None:
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/fleet").symlink_to(tmp_path / "disk")
    assert run(str(tmp_path)).paths["/opt/fleet"].kind == "d"
    packed = archive.as_text(archive.pack(wanted().entries, str(tmp_path)))
    subprocess.run(["sh", "-c", archive.UNPACK], input=packed, text=True, check=True)
    assert (tmp_path / "opt/fleet").is_symlink()


def test_a_file_has_the_time_at_which_it_came(tmp_path: LocalPath) -> None:
    packed = archive.as_text(archive.pack(wanted().files, str(tmp_path)))
    subprocess.run(["sh", "-c", archive.UNPACK], input=packed, text=True, check=True)
    # systemd tells by it that a unit file changed.
    assert (tmp_path / "etc/fleet/web.env").stat().st_mtime > 1e9


def test_the_same_content_makes_the_same_archive() -> None:
    entries = wanted().entries
    assert archive.pack(entries) == archive.pack(entries[::-1])


def test_an_output_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="cut short"):
        observed.parse(["memory\t1000", "cores\t1"])


def test_units_are_seen_with_the_revision_that_runs() -> None:
    lines = """\
unit\tId\tcelery-web@1.service
unit\tLoadState\tloaded
unit\tActiveState\tactive
unit\tUnitFileState\tenabled
unit\tNeedDaemonReload\tyes
unit\tMainPID\t42
unit\tRevision\tabc
unit-end
unit\tId\tredis-server.service
unit\tLoadState\tnot-found
unit\tActiveState\tinactive
end"""
    units = observed.parse(lines.splitlines()).units
    assert units == {"celery-web@1.service": observed.RunningUnit(active=True, enabled=True, stale=True, pid=42, revision="abc")}


def test_the_python_that_releases_are_built_with_is_seen(tmp_path: LocalPath) -> None:
    found = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=True).stdout
    assert found.startswith(f"Python {run(str(tmp_path)).python}.")
