"""The user's own commands around a rollout, over machines that are not there."""

from __future__ import annotations

from pathlib import Path

from tests.render.conftest import Pyinfra

HOOKS = """
for _hosts in [value for name, value in list(globals().items()) if isinstance(value, list) and not name.startswith("_")]:
    for _index, (_host, _data) in enumerate(_hosts):
        _answer = {{"fleet_node.app.hook": {answer!r}}}
        _hooks = {hooks!r}
        _hosts[_index] = (_host, {{**_data, "hooks": _hooks, "fake_responses": {{**_answer, **_data["fake_responses"]}}}})
"""
WELL = 'migrated 3 tables\nfleet-hook: {"code": 0, "seconds": 1.5}\n'
FAILED = 'no such table: orders\nfleet-hook: {"code": 3, "seconds": 0.2}\n'


def hooks(folder: Path, answer: str) -> str:
    """Python for the inventory. on_failure writes what it is told into `failure`."""
    notification = f'printf "%s\\n" "$FLEET_SCRIPT $FLEET_OUTCOME" "$FLEET_ERRORS" >{folder}/failure'
    commands = {"before_rollout": "shop migrate", "after_rollout": "shop warm", "on_failure": notification}
    return HOOKS.format(answer=answer, hooks={name: {"command": command} for name, command in commands.items()})


def test_they_run_once_before_the_first_step_and_after_the_last(pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra("-y", more=hooks(tmp_path, WELL))
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    places = [output.index(f"Starting operation: {name}") for name in ("Run before_rollout", "Step 1 of", "Run after_rollout")]
    assert places == sorted(places)
    assert output.count("migrated 3 tables") == 2, "each by one machine"
    assert "before_rollout: done in 1.5 s" in output and "after_rollout: done in 1.5 s" in output
    assert not (tmp_path / "failure").exists()


def test_if_the_first_fails_nothing_goes_down_and_somebody_is_told(pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra("-y", more=hooks(tmp_path, FAILED))
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "before_rollout failed with exit code 3: no such table: orders" in output
    assert "Starting operation: Step" not in output and "after_rollout" not in output.partition("Starting operation")[2]
    script, *errors = (tmp_path / "failure").read_text().splitlines()
    assert script == "deploy.py failed"
    assert any("before_rollout failed with exit code 3: no such table: orders" in error for error in errors)


def test_a_machine_that_is_gone_meanwhile(pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra("-y", more=hooks(tmp_path, "migrated 1 ta"))
    assert done.returncode == 1
    assert "before_rollout failed: contact was lost" in done.stdout + done.stderr


def test_a_hook_on_this_machine_has_a_time_limit(pyinfra: Pyinfra, tmp_path: Path) -> None:
    more = (
        hooks(tmp_path, FAILED)
        + """
for _hosts in [value for name, value in list(globals().items()) if isinstance(value, list) and not name.startswith("_")]:
    for _host, _data in _hosts:
        _data["hooks"]["on_failure"] = {"command": "sleep 600", "timeout": 1}
"""
    )
    done = pyinfra("-y", more=more)
    assert done.returncode == 1
    assert "on_failure: not done after 1 s: killed" in done.stdout + done.stderr


def test_a_restart_of_what_runs_needs_none(pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra("--dry", script="restart.py", more=hooks(tmp_path, WELL))
    assert done.returncode == 0 and "_rollout" not in done.stdout + done.stderr
