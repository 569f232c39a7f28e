"""A user's mistake ends the run before anything changes: one line that names it, exit 1, no traceback."""

import subprocess
from pathlib import Path

import pytest

from tests.render.conftest import Pyinfra

WEB = 'web_worker = {{"queues": ["default"], "concurrency": 4{more}}}\n'


def assert_refused(done: "subprocess.CompletedProcess[str]", *said: str) -> None:
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    for text in said:
        assert text in output
    assert "nothing was changed" in output
    assert "Traceback" not in output
    assert "Beginning operation run" not in output


def test_an_unknown_key_in_group_data(pyinfra: Pyinfra) -> None:
    done = pyinfra("-y", group_data={"web.py": WEB.format(more=', "concurency": 8')})
    assert_refused(done, "web_worker.concurency: unknown setting; did you mean concurrency?")


def test_a_group_with_no_group_data(pyinfra: Pyinfra) -> None:
    done = pyinfra("-y", more="wbe = [('@fake/wbe1', _fake)]")
    assert_refused(done, "wbe: the group has @fake/wbe1 and no data; write group_data/wbe.py; did you mean the group web?")


def test_no_broker_host(pyinfra: Pyinfra) -> None:
    assert_refused(
        pyinfra("-y", more="del broker"), "broker: found none; the inventory needs exactly one host in the group broker"
    )


def test_two_broker_hosts(pyinfra: Pyinfra) -> None:
    done = pyinfra("-y", more="broker.append(('@fake/broker2', {**_ours, 'lan_address': '10.0.0.11'}))")
    assert_refused(done, "broker: found 2 (@fake/broker1.example.com, @fake/broker2); the inventory needs exactly one")


def test_a_worker_with_no_queue(pyinfra: Pyinfra) -> None:
    done = pyinfra("-y", group_data={"web.py": 'web_worker = {"queues": [], "concurrency": 4}\n'})
    assert_refused(done, "web_worker.queues: found none, write at least one")


def test_a_missing_secret(pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra("-y", group_data={"web.py": WEB.format(more=', "secrets": ["DATABASE_URL"]')})
    path = tmp_path / "secrets.env"
    assert_refused(done, f"{path}: DATABASE_URL is missing; add the line DATABASE_URL=…")
    path.unlink()
    assert_refused(pyinfra("-y"), f"{path}: no such file; make one with: fleet secrets {path}")


def test_a_source_that_does_not_exist(pyinfra: Pyinfra) -> None:
    assert_refused(pyinfra("-y", source="no/such/app"), "app_source: no such folder: no/such/app")


def test_an_unreachable_host(pyinfra: Pyinfra) -> None:
    # Port 9 of loopback: nothing listens there.
    done = pyinfra("-y", more="web.append(('web9', {**_ours, 'ssh_hostname': '127.0.0.1', 'ssh_port': 9}))")
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "web9" in output
    assert "Beginning operation run" not in output
    assert "Traceback" not in output


@pytest.mark.parametrize("value", ["8", '"8"'])
def test_a_number_may_be_written_either_way(pyinfra: Pyinfra, value: str) -> None:
    done = pyinfra("--dry", group_data={"web.py": f'web_worker = {{"queues": ["default"], "concurrency": {value}}}\n'})
    assert done.returncode == 0, done.stdout + done.stderr
