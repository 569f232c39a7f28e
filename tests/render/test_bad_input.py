"""A user's mistake ends the run before anything changes: one line that names it, exit 1, no traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.inventory import kept
from tests.render.conftest import DESCRIBED, ROOT, Pyinfra

WEB = 'web_worker = {{"queues": ["default"], "concurrency": 4{more}}}\n'


def assert_refused(done: "subprocess.CompletedProcess[str]", *texts: str) -> None:
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    for text in texts:
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


def test_a_group_that_is_no_list(pyinfra: Pyinfra) -> None:
    """pyinfra takes it for no group, so that every worker of the group would be removed."""
    done = pyinfra("-y", more="web = '@fake/web1'")
    assert_refused(done, 'web: no list in the inventory, so that no host is in the group; write web = ["host", …]')


def test_no_broker_host(pyinfra: Pyinfra) -> None:
    assert_refused(pyinfra("-y", more="del broker"), "the group broker of the inventory: found none; it needs exactly one host")


def test_two_broker_hosts(pyinfra: Pyinfra) -> None:
    done = pyinfra("-y", more="broker.append(('@fake/broker2', {**_ours, 'lan_address': '10.0.0.11'}))")
    assert_refused(
        done, "the group broker of the inventory: found 2 (@fake/broker1.example.com, @fake/broker2); it needs exactly one"
    )


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


@pytest.mark.parametrize("answer", ["", "sudo: command not found"])
def test_a_host_that_does_not_answer_the_probe(pyinfra: Pyinfra, answer: str) -> None:
    done = pyinfra("-y", more=f"web.append(('@fake/web9', {{**_ours, 'fake_responses': {{'MemTotal': {answer!r}}}}}))")
    assert_refused(done, "@fake/web9: does not say what it has")
    assert len(max((done.stdout + done.stderr).splitlines(), key=len)) < 200


def test_settings_that_lose_tasks_together(pyinfra: Pyinfra) -> None:
    done = pyinfra(
        "-y", group_data={"web.py": WEB.format(more=', "time_limit": 120, "soft_time_limit": 120, "stop_timeout": 90')}
    )
    assert_refused(
        done,
        "2 mistake(s) across the settings",
        "web_worker.soft_time_limit: 120 is not below time_limit 120; write less [soft-limit]",
        "web_worker.stop_timeout: 90 is not above time_limit 120; leave it out, for 120 + 60 [stop-timeout]",
    )


def test_more_memory_than_the_machines_have(pyinfra: Pyinfra) -> None:
    done = pyinfra("-y", group_data={"web.py": WEB.format(more=', "memory_max": "6G"')})
    assert_refused(done, "memory_max: web 1 × 6144M + reserve 410M: 6554M, more than the machine's 4096M", "[memory-machine]")


def test_group_data_that_no_group_is_named_as(pyinfra: Pyinfra) -> None:
    done = pyinfra("--dry", group_data={"batsh.py": 'batsh_worker = {"queues": ["batch"]}\n'})
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    warning = "--> warning: group_data/batsh.py: no host is in a group batsh; did you mean batch? [unused-group-data]"
    assert output.count(warning) == 1
    # At the end, where it is read.
    assert output.index(warning) > output.index("--> Disconnecting")


def test_what_an_earlier_run_has_said_is_counted(pyinfra: Pyinfra) -> None:
    data = {"batsh.py": 'batsh_worker = {"queues": ["batch"]}\n', "web.py": WEB.format(more=', "stop_timeout": 90')}
    data["all.py"] = (ROOT / "group_data" / "all.py").read_text() + '\nlint_ignore = {"stop-timeout": "it is only a test"}\n'
    warning = "--> warning: group_data/batsh.py: no host is in a group batsh; did you mean batch? [unused-group-data]"
    silenced = "--> silenced, since it is only a test: web_worker.stop_timeout: 90"
    first = pyinfra("--dry", group_data=data)
    assert warning in first.stdout + first.stderr
    assert silenced in first.stdout + first.stderr
    # A run over some hosts says nothing about whether the others' findings are mended.
    for words in (["--dry"], ["--dry", "--limit", "batch"], ["--dry"]):
        again = pyinfra(*words, group_data=data)
        output = again.stdout + again.stderr
        assert again.returncode == 0, output
        assert warning not in output
        assert silenced not in output
        assert "--> also 1 warning, " in output
        assert "as in earlier runs: -v shows them" in output
    verbose = pyinfra("--dry", "-v", group_data=data)
    assert warning in verbose.stdout + verbose.stderr
    assert silenced in verbose.stdout + verbose.stderr
    assert "in earlier runs" not in verbose.stdout + verbose.stderr


def test_lint_and_a_deploy_know_of_each_other(pyinfra: Pyinfra, tmp_path: Path) -> None:
    pyinfra("--dry", group_data={"batsh.py": 'batsh_worker = {"queues": ["batch"]}\n'})
    words = ["lint", "../fleet.py", "--no-app", "--assume", "cores=4,memory=4G,gpus=1", "--json"]
    done = subprocess.run(
        [str(Path(sys.executable).parent / "fleet"), *words],
        cwd=tmp_path / "project",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    news = {finding["rule"]: finding["new"] for finding in json.loads(done.stdout)["findings"]}
    assert news["unused-group-data"] is False
    facts = json.loads((kept.folder(tmp_path / "fleet.py") / "facts.json").read_text())
    assert facts["hosts"]["@fake/gpu1.example.com"]["facts"]["gpu_report"]["driver"] == "535.261.03"


def test_what_cannot_be_kept_is_said_and_stops_nothing(pyinfra: Pyinfra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    done = pyinfra("--dry")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "facts.json: not written: Not a directory; XDG_STATE_HOME says where to keep it" in output
    assert "Traceback" not in output


def test_a_rule_that_is_silenced_is_told_with_its_reason(pyinfra: Pyinfra) -> None:
    all_data = (ROOT / "group_data" / "all.py").read_text() + '\nlint_ignore = {"stop-timeout": "it is only a test"}\n'
    done = pyinfra("-y", group_data={"all.py": all_data, "web.py": WEB.format(more=', "stop_timeout": 90')})
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "--> silenced, since it is only a test: web_worker.stop_timeout: 90 is not above time_limit 600" in output


def test_an_app_that_does_not_fit_ends_the_run_before_anything_that_runs_is_touched(pyinfra: Pyinfra) -> None:
    task = {"name": "shop.mail", "queues": ["mail"], "acks_late": True, "reject_on_worker_lost": True}
    done = pyinfra("-y", described={**DESCRIBED, "tasks": [task]})
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "shop.app: queue mail: no worker consumes it, and this is routed there: shop.mail" in output
    assert "Traceback" not in output
    assert "Starting operation: Bring up the broker" not in output


@pytest.mark.parametrize("value", ["8", '"8"'])
def test_a_number_may_be_written_either_way(pyinfra: Pyinfra, value: str) -> None:
    done = pyinfra("--dry", group_data={"web.py": f'web_worker = {{"queues": ["default"], "concurrency": {value}}}\n'})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("role=web", "it takes discard_tasks and abandon_queues and leave_workers"),
        ("release=abc", "it takes discard_tasks and"),
    ],
)
def test_what_another_script_is_told_is_not_ignored(pyinfra: Pyinfra, given: str, known: str) -> None:
    done = pyinfra("-y", "--data", given)
    assert_refused(done, f"{given.partition('=')[0]}: this script takes none by --data; {known}")


def test_a_large_release_is_told_before_it_is_made(pyinfra: Pyinfra, tmp_path: Path) -> None:
    """All of it is read for the release's name, and sent to every machine."""
    source = tmp_path / "shop"
    shutil.copytree(ROOT / "examples" / "shop", source, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    (source / "model.bin").touch()
    os.truncate(source / "model.bin", 101_000_000)
    done = pyinfra("--dry", source=str(source))
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    line = f"--> a release of {source}: "
    told = output[output.index(line) :].partition("\n")[0]
    assert "the largest: model.bin 101.0 MB. Name what the tasks do not need in app_exclude" in told
    assert output.index(line) < output.index("build release")
    os.truncate(source / "model.bin", 0)
    done = pyinfra("--dry", source=str(source))
    told = done.stderr[done.stderr.index(line) :].partition("\n")[0]
    assert told.endswith(" kB")
