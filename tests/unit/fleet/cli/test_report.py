"""`fleet report`: from a recording, and from a Prometheus behind an sshd on loopback."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleet.cli.main import app
from fleet.errors import FleetError
from fleet.observe.report import prometheus
from fleet.observe.report.report import report
from tests.unit.fleet.cli.cli_support import fleet, make_project
from tests.unit.fleet.cli.native_support import Project, project
from tests.unit.fleet.observe.report.report_support import lines, write
from tests.unit.fleet.observe.report.test_prometheus import metrics
from tests.unit.prometheus_support import prometheus as running
from tests.unit.shop_support import free_port


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose machines do not answer, as the working directory."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of fleet report."""
    done = CliRunner().invoke(app, ["report", "prod.py", *words])
    return done.exit_code, done.stdout, done.stderr


def test_a_page_of_a_recording_whose_machines_are_gone(folder: Path) -> None:
    write(folder / "recording.jsonl", lines(360))
    done = fleet(folder, "report", "prod.py", "--from", "recording.jsonl", "-o", "page.html")
    assert (done.returncode, done.stdout) == (0, "")
    page = (folder / "page.html").read_text()
    assert done.stderr == f"page.html: {len(page.encode()) / 1000:.0f} kB\n"
    assert "Rollouts are not known: 127.0.0.1: ssh: connect to host 127.0.0.1 port 9: Connection refused" in page
    assert "from the recording recording.jsonl" in page
    assert "queue-0" in page


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "the inventory has no group monitor; record with `fleet record`, then --from"),
        (("--from", "none.jsonl"), "none.jsonl: No such file or directory"),
        (("--from", "prod.py"), "prod.py: no recording of fleet record"),
        (("--from", "later.jsonl"), "later.jsonl: a recording of version 2; this celery-fleet reads version 1"),
        (("--from", "empty.jsonl"), "empty.jsonl: there is no sample in it yet"),
        (("--from", "good.jsonl", "-o", "no/page.html"), "no/page.html: No such file or directory"),
        (("--from", "good.jsonl", "-o", "app"), "app: Is a directory"),
    ],
)
def test_mistakes_are_a_line(folder: Path, words: tuple[str, ...], why: str) -> None:
    write(folder / "good.jsonl", lines(3))
    write(folder / "empty.jsonl", lines(0))
    write(folder / "later.jsonl", iter(['{"fleet-recording":2}\n']))
    assert run(*words) == (2, "", f"{why}\n")
    assert not (folder / "report.html").exists()


def test_a_monitor_that_does_not_answer(folder: Path) -> None:
    with (folder / "prod.py").open("a") as inventory:
        inventory.write("monitor = [('127.0.0.1', {'ssh_port': 9})]\n")
    assert run() == (2, "", "127.0.0.1: ssh: connect to host 127.0.0.1 port 9: Connection refused\n")


@pytest.fixture
def monitored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A fleet with a monitor. Its Prometheus would listen on a free port."""
    with project(tmp_path, machines={"web1": "web", "m": "monitor"}) as made:
        monkeypatch.chdir(made.folder)
        monkeypatch.setattr(prometheus, "PORT", free_port())
        yield made


@pytest.mark.long
def test_a_page_from_prometheus_through_ssh(monitored: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FleetError, match=r"^m: Prometheus does not answer: ") as refused:
        report(Path("prod.py"), None, 6)
    assert (refused.value.exit_code, str(refused.value).count("\n")) == (2, 0)
    (tmp_path / "metrics").write_text("".join(metrics(time.time())))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(tmp_path / "metrics"), str(tmp_path / "data")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with running(tmp_path) as url:
        monkeypatch.setattr(prometheus, "PORT", int(url.rpartition(":")[2]))
        page = report(Path("prod.py"), None, 6).decode()
    assert "from Prometheus" in page
    assert "web-worker-1@web2 gave no sign of life" in page
    assert "Rollouts are not known" not in page
