"""A monitor beside the broker: it comes up, sees the fleet, sends the alerts that it should, and goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.online.conftest import ROLLING, Lab, inventory_with
from tests.unit.fleet_node.delivery.lease_support import until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

GET = 'python3 -c "import urllib.request; print(urllib.request.urlopen(\\"http://127.0.0.1:{}\\").read().decode())"'


@pytest.fixture(scope="module")
def monitored(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The lab's inventory with a monitor, which is deployed."""
    inventory = inventory_with(tmp_path_factory.mktemp("inventory"), monitor=["broker1"])
    done = lab.deploy(*ROLLING, inventory=inventory)
    assert done.returncode == 0, done.stdout
    return inventory


def _up(lab: Lab) -> set[str]:
    """Jobs whose every target Prometheus has scraped."""
    targets = json.loads(lab.ask("broker1", GET.format("9090/api/v1/targets")))["data"]["activeTargets"]
    return {target["labels"]["job"] for target in targets} - {
        target["labels"]["job"] for target in targets if target["health"] != "up"
    }


def test_prometheus_sees_the_fleet_and_nothing_listens_beyond_loopback(lab: Lab, monitored: str) -> None:
    jobs = {"celery-fleet", "node", "prometheus", "alertmanager"}
    assert until(lambda: _up(lab) == jobs, 120), _up(lab)
    metrics = lab.ask("broker1", GET.format("9808/metrics"))
    assert 'fleet_worker_up{host="web1",role="web",worker="web-worker-1@web1"} 1.0' in metrics
    assert 'fleet_worker_memory_max_bytes{host="web1"' in metrics
    addresses = lab.ask("broker1", "ss -Hltn sport = :9090 or sport = :9093 or sport = :9094 or sport = :9100 or sport = :9808")
    assert len(addresses.splitlines()) == 4, addresses
    assert all(line.split()[3].startswith("127.0.0.1:") for line in addresses.splitlines()), addresses


def test_the_next_deploy_changes_nothing(lab: Lab, monitored: str) -> None:
    done = lab.deploy(*ROLLING, inventory=monitored)
    assert done.returncode == 0, done.stdout
    for words in ("Write changed files", "Start services", "Restart outdated services", "Install Debian packages"):
        assert f"Starting operation: {words}" not in done.stdout


def test_faults_set_off_their_alerts(lab: Lab, monitored: str, tmp_path: Path) -> None:
    account = lab.drill(
        "alarms", "--only", "exporter-away,dead-letter,broker-away", *ROLLING, inventory=monitored, log=tmp_path / "log"
    )
    assert {name: list(done["fired"]) for done in account["scenarios"] for name in [done["name"]]} == {
        "exporter-away": ["MonitorBlind"],
        "dead-letter": ["StuckOrPoison"],
        "broker-away": ["BrokerDown"],
    }


def test_a_host_that_leaves_the_group_has_no_exporter(lab: Lab, monitored: str, tmp_path: Path) -> None:
    done = lab.deploy(*ROLLING, inventory=inventory_with(tmp_path, monitor=[]))
    assert done.returncode == 0, done.stdout
    assert lab.ask("broker1", "systemctl is-active fleet-exporter || true") == "inactive"
