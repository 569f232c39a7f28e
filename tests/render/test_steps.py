"""Steps over several machines that are not there: what one of them says concerns all."""

import re

from tests.render.conftest import Pyinfra

ONE_HOST = """
for _index, (_host, _data) in enumerate(web):
    if "web2" in _host:
        _responses = {{**_data["fake_responses"], {more}}}
        web[_index] = (_host, {{**_data, "fake_responses": _responses}})
"""
FAILS = ONE_HOST.format(
    more="""'fleet_node.step': 'fleet-step: {"ok": false, "put_back": true, "units": {"celery-web@1.service": '
        '{"state": "put back"}}, "notes": ["celery-web@1.service does not consume default"]}',"""
)


def test_a_step_that_fails_on_one_machine_is_put_back_on_all(pyinfra: Pyinfra) -> None:
    done = pyinfra("-y", more=FAILS)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "[@fake/web2.example.com] celery-web@1.service does not consume default" in " ".join(output.split())
    assert output.count("well itself, and put back with @fake/web2.example.com") == 6  # every other host of the step
    assert output.count("Starting nested operation: Put back the old files and workers") == 6
    assert "Commit the step" not in output
    assert "What every worker of this run is now" in output


def test_contact_that_is_lost_in_a_step_puts_the_others_back(pyinfra: Pyinfra) -> None:
    done = pyinfra("-y", more=ONE_HOST.format(more="'fleet_node.step': {'success': False},"))
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "contact was lost; what the machine had begun it ends by itself" in output
    assert output.count("well itself, and put back with @fake/web2.example.com") == 6
    releases = {line.split("│")[3].strip() for line in output.splitlines() if "contact lost" in line}
    # None before; which of the two runs is not known.
    assert [re.fullmatch(r"- or [0-9a-f]{12}", release) is not None for release in releases] == [True]


def test_tasks_that_wait_and_are_not_in_the_release_stop_it_before_the_first_step(pyinfra: Pyinfra) -> None:
    queued = """'fleet_node.app.unregistered': 'fleet-tasks: {"unregistered": {"default": {"shop.gone": 3}}, "looked_at": 9, '
        '"not_looked_at": 0}',"""
    more = ONE_HOST.format(more=queued).replace('if "web2" in _host', "if True")
    done = pyinfra("-y", more=more)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "3 × shop.gone in default" in output
    assert "Starting operation: Step" not in output
    done = pyinfra("-y", "--data", "discard_tasks=shop.gone", more=more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "to be parked, as discard_tasks says: 3 × shop.gone in default" in done.stdout + done.stderr


def test_two_machines_of_one_name_are_refused(pyinfra: Pyinfra) -> None:
    more = """
web[:] = [
    (_host, {**_data, "fake_responses": {"MemTotal": "hostname\\tsame\\n" + _data["fake_responses"]["MemTotal"]}})
    for _host, _data in web
]
"""
    done = pyinfra("-y", more=more)
    assert done.returncode == 1
    text = "@fake/web1.example.com, @fake/web2.example.com: both call themselves same, and their web workers would have one name"
    assert text in done.stdout + done.stderr
