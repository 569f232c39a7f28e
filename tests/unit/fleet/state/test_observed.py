"""The probe, run for real by sh on this machine, below a folder of its own."""

import os
import platform
import subprocess
from pathlib import Path as LocalPath

import pytest

from fleet.state import archive, observed
from fleet.state.desired import Directory, File, State
from fleet.state.diff import compare
from fleet.state.observed import ObservedMachine, Watched

WATCHED = Watched(
    packages=("coreutils", "no-such-package"),
    users=("root", "no-such-user"),
    paths=("/etc/fleet", "/etc/fleet/*.env", "/opt/fleet", "/etc/systemd/system/celery-*@*.service", "/var/lib/celery/*/"),
    units=("fleet.target", "celery-*@*.service"),
)


def run(destdir: str) -> ObservedMachine:
    command = observed.command(WATCHED, destdir)
    output = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    return observed.parse(output.splitlines(), destdir)


def desired() -> State:
    user, group = "root", "root"
    return State(
        directories=(Directory("/etc/fleet", 0o750, user, group), Directory("/opt/fleet", 0o755, user, group)),
        files=(
            File("/etc/fleet/web.env", b"A='x y'\n", 0o640, user, group),
            File("/etc/systemd/system/celery-web@1.service", b"[Service]\n", 0o644, user, group),
        ),
    )


def test_this_machine_is_seen(tmp_path: LocalPath) -> None:
    machine = run(str(tmp_path))
    assert machine.cores == len(os.sched_getaffinity(0))
    assert machine.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.architecture == platform.machine()
    assert machine.users == {"root"}
    assert machine.packages == {"coreutils"}
    assert machine.paths == {}


@pytest.mark.skipif(os.getuid() != 0, reason="owners can be set by root alone")
def test_what_the_archive_brought_is_what_was_wanted(tmp_path: LocalPath) -> None:
    destdir = str(tmp_path)
    changes = compare(desired(), run(destdir))
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
    assert not compare(desired(), run(destdir)).write
    (tmp_path / "etc/fleet/web.env").write_text("A=2\n")
    assert [entry.path for entry in compare(desired(), run(destdir)).write] == ["/etc/fleet/web.env"]


def test_a_directory_that_was_moved_and_linked_stays_linked(tmp_path: LocalPath) -> None:
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/fleet").symlink_to(tmp_path / "disk")
    assert run(str(tmp_path)).paths["/opt/fleet"].kind == "d"
    packed = archive.as_text(archive.pack(desired().entries, str(tmp_path)))
    subprocess.run(["sh", "-c", archive.UNPACK], input=packed, text=True, check=True)
    assert (tmp_path / "opt/fleet").is_symlink()


def test_a_file_has_the_time_at_which_it_came(tmp_path: LocalPath) -> None:
    packed = archive.as_text(archive.pack(desired().files, str(tmp_path)))
    subprocess.run(["sh", "-c", archive.UNPACK], input=packed, text=True, check=True)
    # systemd tells by it that a unit file changed.
    assert (tmp_path / "etc/fleet/web.env").stat().st_mtime > 1e9


def test_the_same_content_makes_the_same_archive() -> None:
    entries = desired().entries
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
    output = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=True).stdout
    assert output.startswith(f"Python {run(str(tmp_path)).python}.")


def test_a_pattern_with_a_slash_means_directories_alone(tmp_path: LocalPath) -> None:
    (tmp_path / "var/lib/celery/web").mkdir(parents=True)
    (tmp_path / "var/lib/celery/web.db").write_text("an app's own file, of any size: it is not read")
    assert list(run(str(tmp_path)).paths) == ["/var/lib/celery/web"]


def test_units_of_a_step_that_was_cut_off_are_unverified() -> None:
    lines = ["unverified\tcelery-web@1.service", "unverified\tcelery-web@2.service", "end"]
    assert observed.parse(lines).unverified == {"celery-web@1.service", "celery-web@2.service"}
