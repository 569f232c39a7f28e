"""Beat on two machines: one leads, the other takes over, and no entry is skipped or sent twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.online.conftest import ROLLING, Lab, inventory_with

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture(scope="module")
def beats(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The lab's inventory with two beats, which are deployed."""
    inventory = inventory_with(tmp_path_factory.mktemp("inventory"), beat=["broker1", "web1"])
    done = lab.deploy(*ROLLING, inventory=inventory)
    assert done.returncode == 0, done.stdout
    return inventory


def leader(lab: Lab, inventory: str) -> str:
    """The host whose beat leads, as fleet status says it."""
    done = lab.run("fleet", "status", inventory, "--json")
    beat = json.loads(done.stdout)["beat"]
    return str(beat["leader"] or "").rpartition("@")[2]


def test_both_run_and_one_leads(lab: Lab, beats: str) -> None:
    assert {lab.ask(host, "systemctl is-active celery-beat.service") for host in ("broker1", "web1")} == {"active"}
    assert leader(lab, beats) in ("broker1", "web1")
    exposure = lab.ask("web1", "systemd-analyze security --no-pager celery-beat.service | tail -1")
    assert "OK" in exposure, exposure


def test_another_takes_over_within_thirty_seconds(lab: Lab, beats: str) -> None:
    before = leader(lab, beats)
    account = lab.drill("kill-beat", *ROLLING, inventory=beats)
    assert account["went_wrong"] is None
    assert account["led_after_s"] <= account["led_within_s"]
    assert account["sent"] > 6
    assert leader(lab, beats) not in ("", before)


def test_the_next_deploy_changes_nothing(lab: Lab, beats: str) -> None:
    done = lab.deploy(*ROLLING, inventory=beats)
    assert done.returncode == 0, done.stdout
    for words in ("Write changed files", "Start services", "Restart outdated services"):
        assert f"Starting operation: {words}" not in done.stdout


def test_a_host_that_leaves_the_group_has_no_beat(lab: Lab, beats: str, tmp_path: Path) -> None:
    done = lab.deploy(*ROLLING, inventory=inventory_with(tmp_path, beat=[]))
    assert done.returncode == 0, done.stdout
    assert lab.ask("web1", "systemctl list-units --all --plain --no-legend celery-beat.service") == ""
