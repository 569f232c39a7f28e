"""Exit codes of runs that were stopped, or did nothing."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.render.conftest import ROOT, Pyinfra


def test_a_limit_that_names_nobody_is_a_mistake(pyinfra: Pyinfra) -> None:
    done = pyinfra("-y", "--limit", "no-such-host")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "--limit names no host of the inventory: nothing was done" in done.stderr


def test_an_inventory_that_is_not_there_is_a_mistake() -> None:
    pyinfra = str(Path(sys.executable).parent / "pyinfra")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [pyinfra, "inventory/no-such-file.py", "deploy.py", "-y"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "inventory/no-such-file.py: no such inventory file" in done.stderr


def test_an_interrupted_run_has_not_succeeded(pyinfra: Pyinfra, tmp_path: Path) -> None:
    pyinfra("--limit", "no-such-host")  # writes the inventory of fakes
    inventory = tmp_path / "fleet.py"
    inventory.write_text(inventory.read_text().replace('"fake_delay": 0,', '"fake_delay": 3,'))
    command = [str(Path(sys.executable).parent / "pyinfra"), str(inventory), "deploy.py", "-y"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if "Starting operation" in line:
                process.send_signal(signal.SIGINT)
            elif "interrupted: " in line:
                process.send_signal(signal.SIGINT)  # somebody in a hurry
                break
        output += process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "interrupted: what a machine was told is finished there" in output
    assert "Traceback" not in output


def test_without_a_terminal_a_run_that_would_ask_changes_nothing(pyinfra: Pyinfra) -> None:
    done = pyinfra()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no terminal to answer on, so nothing was changed: -y does it without asking" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_enter_does_not_leave_out_a_host_that_is_down(pyinfra: Pyinfra, tmp_path: Path) -> None:
    pyinfra("--limit", "no-such-host")  # writes the inventory of fakes
    inventory = tmp_path / "fleet.py"
    down = "('127.0.0.1', {**_ours, 'ssh_port': 1})"  # nobody listens
    inventory.write_text(inventory.read_text() + f"web.append({down})\n")
    command = [str(Path(sys.executable).parent / "pyinfra"), str(inventory), "deploy.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, input="\n" * 9, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    output = done.stdout + done.stderr
    assert "Starting operation" not in output
    assert "Traceback" not in output
    # The way to go on without it is named, and works; no other option leaves it out.
    line = next(line for line in output.splitlines() if "127.0.0.1: no connection, and nothing was changed" in line)
    limits = shlex.split(line.partition("to go on without it: ")[2])
    fakes = [f"@fake/{name}.example.com" for name in ("broker1", "web1", "web2", "web3")]
    assert limits == [word for name in ("batch", "gpu", *fakes, "@fake/monitor1.example.com") for word in ("--limit", name)]
    for more, code in ((["--fail-percent", "90"], 1), (limits, 0)):
        done = subprocess.run(
            [*command, "-y", *more], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert ("no connection, and nothing was changed" in done.stdout + done.stderr) == bool(code)


def test_a_mistake_is_told_before_a_host_that_is_down(pyinfra: Pyinfra) -> None:
    down = "web.append(('127.0.0.1', {**_ours, 'ssh_port': 1}))"
    done = pyinfra("-y", more=f"{down}\nweb[0][1]['lease'] = 5")
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "1 mistake(s), nothing was changed" in output
    assert "lease: " in output
    assert "127.0.0.1" not in output, "it was connected to"


def test_a_command_for_the_hosts_does_not_ask_for_right_settings(pyinfra: Pyinfra) -> None:
    done = pyinfra("-y", "--", "true", more="web[0][1]['lease'] = 5", script="exec")
    assert done.returncode == 0, done.stdout + done.stderr


def test_nobody_answers(pyinfra: Pyinfra) -> None:
    down = "('127.0.0.1', {**_ours, 'ssh_port': 1, 'lan_address': '127.0.0.1'}), ('127.0.0.2', {**_ours, 'ssh_port': 1})"
    done = pyinfra("-y", more=f"del globals()['gpu']\nbroker, web = [[host] for host in ({down})]\nbatch = web", group_data={})
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "127.0.0.1, 127.0.0.2: no connection, and nothing was changed" in output
    assert "pyinfra error" not in output


def test_a_run_is_refused_once_for_all_hosts(pyinfra: Pyinfra) -> None:
    """Each host's deploy would begin again, and ask machines to which pyinfra closes the connections meanwhile."""
    done = pyinfra("-y", "--debug", machine_lines=["hostname\tsame"])
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert output.count("both call themselves same") == 1
    assert output.count("/proc/meminfo") == 9, "the example fleet's 9 machines, each asked once"
