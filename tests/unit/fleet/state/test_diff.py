"""Only what differs is changed, and a restart depends on what runs, not on what was written."""

from dataclasses import replace

from fleet.state.desired import Directory, File, State, Unit, User
from fleet.state.diff import Changes, compare
from fleet.state.observed import ObservedMachine, ObservedPath, RunningUnit

UNIT_PATH = "/etc/systemd/system/celery-web@1.service"
UNIT = File(UNIT_PATH, b"[Service]\n")
DESIRED = State(
    packages=("python3",),
    users=(User("celery", "/var/lib/celery"),),
    directories=(Directory("/etc/fleet", 0o750, group="celery"),),
    files=(UNIT, File("/etc/fleet/web.env", b"A=1\n", 0o640, group="celery")),
    units=(Unit("celery-web@1.service", "rev-2"),),
    only=("/etc/systemd/system/celery-*@*.service",),
)
RUNNING = RunningUnit(active=True, enabled=True, stale=False, pid=7, revision="rev-2")
SEEN = ObservedMachine(
    packages=frozenset({"python3"}),
    users=frozenset({"celery"}),
    paths={
        "/etc/fleet": ObservedPath("d", "root", "celery", 0o750),
        "/etc/fleet/web.env": ObservedPath("f", "root", "celery", 0o640, DESIRED.files[1].digest),
        UNIT_PATH: ObservedPath("f", "root", "root", 0o644, UNIT.digest),
    },
    units={"celery-web@1.service": RUNNING},
)


def seen_with(path: str, **change: object) -> ObservedMachine:
    return replace(SEEN, paths={**SEEN.paths, path: replace(SEEN.paths[path], **change)})  # type: ignore[arg-type]


def test_nothing_differs() -> None:
    changes = compare(DESIRED, SEEN)
    assert not changes
    assert changes == Changes()
    assert changes.describe() == []


def test_an_empty_machine_gets_everything() -> None:
    changes = compare(DESIRED, ObservedMachine())
    assert changes.install == ("python3",)
    assert [user.name for user in changes.users] == ["celery"]
    assert [entry.path for entry in changes.write] == ["/etc/fleet", UNIT_PATH, "/etc/fleet/web.env"]
    assert changes.reload
    assert changes.start == ("celery-web@1.service",)
    assert changes.restart == ()


def test_content_mode_owner_and_kind_are_compared() -> None:
    for change in ({"digest": "0" * 64}, {"mode": 0o644}, {"owner": "nobody"}, {"group": "root"}, {"kind": "l"}):
        changes = compare(DESIRED, seen_with("/etc/fleet/web.env", **change))
        assert [entry.path for entry in changes.write] == ["/etc/fleet/web.env"], change
        assert not changes.reload


def test_a_changed_unit_file_is_read_again_by_systemd() -> None:
    assert compare(DESIRED, seen_with(UNIT_PATH, digest="0" * 64)).reload
    # …also where an earlier run wrote it and was cut off before it told systemd; fleet.slice has no unit to start.
    assert compare(DESIRED, replace(SEEN, units={**SEEN.units, "fleet.slice": RunningUnit(True, True, stale=True)})).reload
    assert compare(DESIRED, replace(SEEN, units={"celery-web@1.service": replace(RUNNING, stale=True)})).reload


def test_what_runs_another_revision_is_restarted_though_no_file_differs() -> None:
    for revision in ("rev-1", None):
        changes = compare(DESIRED, replace(SEEN, units={"celery-web@1.service": replace(RUNNING, revision=revision)}))
        assert changes.restart == ("celery-web@1.service",)
        assert changes.start == ()


def test_what_is_down_or_disabled_is_started() -> None:
    for unit in (replace(RUNNING, active=False), replace(RUNNING, enabled=False)):
        assert compare(DESIRED, replace(SEEN, units={"celery-web@1.service": unit})).start == ("celery-web@1.service",)


def test_what_is_no_longer_wanted_is_stopped_and_removed() -> None:
    stray = "/etc/systemd/system/celery-web@2.service"
    machine = replace(
        SEEN,
        paths={
            **SEEN.paths,
            stray: ObservedPath("f", "root", "root", 0o644),
            "/etc/fleet/notes": ObservedPath("f", "root", "root", 0o644),
        },
        units={**SEEN.units, "celery-web@2.service": RUNNING},
    )
    changes = compare(DESIRED, machine)
    assert changes.stop == ("celery-web@2.service",)
    assert changes.remove == (stray,)
    assert changes.reload


def test_a_description_never_shows_content() -> None:
    secret = State(files=(File("/etc/fleet/web.env", b"PASSWORD=hunter2"),))
    changes = compare(secret, ObservedMachine())
    assert changes.describe() == ["write /etc/fleet/web.env"]
    assert "hunter2" not in repr(changes)
