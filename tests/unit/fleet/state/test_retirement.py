"""What celery-fleet has on a machine, and what goes: sh, in a root of the test's own, with a systemctl that keeps a diary."""

import os
import subprocess
from pathlib import Path

import pytest

from fleet.state.retirement import InstalledUnit, in_words, parse, removal, removal_command, survey_command

SYSTEMCTL = """#!/bin/sh
echo "$@" >>"$ROOT/diary"
case $1 in
  is-active) [ -e "$ROOT/up.${2}" ] && echo active || echo inactive ;;
  stop)
    shift
    [ "$1" != --no-block ] || shift
    for unit in "$@"; do
      rm -f "$ROOT/up.$unit"
      name=${unit%.service}
      folder="$ROOT/run/$(echo "$name" | tr @ -)"
      [ ! -d "$folder" ] || printf '{"outcome": "idle", "summary": "drained in 1.5 s"}' >"$folder/drain.json"
    done ;;
  show) [ -e "$ROOT/up.$4" ] && echo active || echo inactive ;;
esac
"""


class Root:
    """A machine's files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "root"
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        (bin_folder / "systemctl").write_text(SYSTEMCTL)
        (bin_folder / "systemctl").chmod(0o755)
        self.path.mkdir()
        self.environment = {**os.environ, "ROOT": str(self.path), "PATH": f"{bin_folder}:{os.environ['PATH']}"}

    def write(self, path: str, text: str = "") -> None:
        file = self.path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def sh(self, command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["sh", "-c", command], env=self.environment, capture_output=True, text=True, check=False)

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())


@pytest.fixture
def root(tmp_path: Path) -> Root:
    root = Root(tmp_path)
    for role in ("web", "batch"):
        root.write(f"/etc/fleet/{role}.env", "CELERY_BROKER_URL=secret\n")
        unit = "TimeoutStopSec=660\nExecStart=/opt/fleet/releases/1f2e/venv/bin/celery -A app worker\n"
        root.write(f"/etc/systemd/system/celery-{role}@1.service", unit)
        root.write(f"/run/celery-{role}-1/control.json", "{}")
        root.write(f"/up.celery-{role}@1.service")
        root.write(f"/var/lib/celery/{role}/orders.db", "the app's own")
    root.write("/etc/systemd/system/fleet.target")
    root.write("/etc/systemd/system/fleet-exporter.service")
    root.write("/opt/fleet-monitor/exporter/fleet_exporter/__main__.py")
    root.write("/etc/fleet-exporter/password", "secret")
    root.write("/etc/systemd/system/other.service")
    root.write("/opt/fleet/releases/1f2e/release.json")
    root.write("/opt/fleet/venvs/aa/.whole")
    root.write("/var/lib/fleet/snapshot.tar", "secrets")
    return root


KEPT = ["etc/systemd/system/other.service", "var/lib/celery/batch/orders.db", "var/lib/celery/web/orders.db"]


def survey(root: Root) -> str:
    done = root.sh(survey_command(str(root.path)))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_machine_is_retired_and_what_tasks_wrote_stays(root: Root) -> None:
    installed = parse(survey(root).splitlines())
    assert installed.roles == ("batch", "web")
    assert InstalledUnit("celery-web@1.service", True, 660, "1f2e") in installed.units
    what = removal(installed)
    assert what.seconds > 660
    done = root.sh(removal_command(what, str(root.path)))
    assert done.returncode == 0, done.stderr
    assert [file for file in root.files() if file != "diary"] == KEPT
    assert not (root.path / "opt/fleet").exists()
    words = [in_words(line.split("\t"), {}) for line in done.stdout.splitlines()]
    assert "celery-web@1.service: drained in 1.5 s" in words
    assert "removed /etc/fleet" in words
    diary = (root.path / "diary").read_text().splitlines()
    stopped = diary.index("stop --no-block celery-batch@1.service celery-web@1.service")
    assert diary.index("disable --quiet celery-web@1.service") < stopped < diary.index("disable --quiet --now fleet.target")
    assert "daemon-reload" in diary[stopped:]
    # Nothing is left, and to run it again is no mistake.
    again = parse(survey(root).splitlines())
    assert (again.units, again.paths, bool(removal(again))) == ((), (), False)


def test_a_role_goes_and_the_other_stays_with_the_releases(root: Root) -> None:
    what = removal(parse(survey(root).splitlines()), "web")
    done = root.sh(removal_command(what, str(root.path)))
    assert done.returncode == 0, done.stderr
    left = root.files()
    assert not [file for file in left if "web" in file and not file.startswith("var/lib/celery")]
    assert {"etc/systemd/system/celery-batch@1.service", "etc/fleet/batch.env", "opt/fleet/releases/1f2e/release.json"} < {*left}
    assert "stop --no-block celery-web@1.service" in (root.path / "diary").read_text().splitlines()
    # The last role takes the releases along. The machine's own files stay: the broker may run there.
    last = removal(parse(survey(root).splitlines()), "batch")
    assert root.sh(removal_command(last, str(root.path))).returncode == 0
    assert not (root.path / "opt/fleet").exists()
    assert (root.path / "var/lib/fleet/snapshot.tar").exists()


def test_beat_goes_as_a_role_and_with_its_machine(root: Root) -> None:
    def install() -> None:
        root.write("/etc/systemd/system/celery-beat.service")
        root.write("/etc/fleet-beat/environment", "secret")
        root.write("/var/lib/celery/beat/schedule", "its runs")

    def beats() -> list[str]:
        return [file for file in root.files() if "beat" in file]

    install()
    installed = parse(survey(root).splitlines())
    assert installed.roles == ("batch", "beat", "web")
    assert root.sh(removal_command(removal(installed, "beat"), str(root.path))).returncode == 0
    assert beats() == ["var/lib/celery/beat/schedule"]
    assert "disable --quiet --now celery-beat.service" in (root.path / "diary").read_text().splitlines()
    assert {"etc/systemd/system/celery-batch@1.service", "opt/fleet/releases/1f2e/release.json"} < {*root.files()}
    # While it is there, the last worker role leaves it its release.
    install()
    for role in ("web", "batch"):
        assert root.sh(removal_command(removal(parse(survey(root).splitlines()), role), str(root.path))).returncode == 0
    assert (root.path / "opt/fleet/releases/1f2e").exists()
    assert root.sh(removal_command(removal(parse(survey(root).splitlines())), str(root.path))).returncode == 0
    assert beats() == ["var/lib/celery/beat/schedule"]


def test_nothing_is_ended_while_a_step_is_at_work(root: Root) -> None:
    command = removal_command(removal(parse(survey(root).splitlines())), str(root.path))
    lock = root.path / "var/lib/fleet/step.lock"
    with subprocess.Popen(["flock", str(lock), "sh", "-c", "echo; read line"], stdin=-1, stdout=-1) as step:
        assert step.stdin and step.stdout
        step.stdout.readline()
        done = root.sh(command)
        step.stdin.close()
    assert done.returncode == 1
    assert "a step of an earlier run is still at work" in done.stderr
    assert "stop" not in (root.path / "diary").read_text()


def test_an_answer_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="cut short"):
        parse(["hostname\tweb1"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("stopping\tcelery-web@1.service\tdraining: 3 running", "celery-web@1.service: draining: 3 running"),
        ("stopping\tcelery-web@2.service\tdraining: 1 running", ""),  # said before
        ("drained\tcelery-web@1.service\tno JSON", "celery-web@1.service: drained"),
        ("killed\tcelery-web@1.service", "celery-web@1.service: WAS KILLED: it had not ended when its time to stop was over, "),
        ("end", ""),
        ("Welcome to web1", ""),
    ],
)
def test_progress_in_words(line: str, words: str) -> None:
    said = in_words(line.split("\t"), {"celery-web@2.service": "draining: 1 running"})
    assert said.startswith(words) and bool(said) == bool(words)
