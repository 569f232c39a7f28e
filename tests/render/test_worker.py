"""What a worker's unit and environment say."""

import configparser
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleet.spec.fleet import Fleet
from fleet.spec.reliability import RELIABILITY, TRANSPORT
from fleet.state import release
from roles import gpu, worker
from tests.render.conftest import MACHINE, SECRETS, content, file_of, plan_of, run_of, state_of

WEB, BATCH, GPU = "web1.example.com", "batch1.example.com", "gpu1.example.com"


def unit(fleet: Fleet, host: str, role: str) -> Mapping[str, Any]:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(content(state_of(fleet, host), f"/etc/systemd/system/celery-{role}@1.service"))
    return parser["Service"]


def with_web(fleet: Fleet, **change: Any) -> Fleet:
    """The fleet with web1's worker changed."""
    host = fleet.hosts[WEB]
    web = host.workers["web"].model_copy(update=change)
    return replace(fleet, hosts={**fleet.hosts, WEB: replace(host, workers={"web": web})})


@pytest.mark.parametrize(
    ("host", "role", "flags"),
    [
        (WEB, "web", "--hostname=web-worker-1@%H --queues=default,priority"),
        (BATCH, "batch", "--hostname=batch-worker-1@%H --queues=batch"),
        (GPU, "gpu", "--hostname=gpu-worker-1@%H --queues=ml"),
    ],
)
def test_roles_have_their_names_and_queues(fleet: Fleet, host: str, role: str, flags: str) -> None:
    command = unit(fleet, host, role)["ExecStart"]
    assert "/venv/bin/celery -A shop.app worker -P " in command
    assert flags in command


def test_every_flag_of_the_batch_role(fleet: Fleet) -> None:
    service = unit(fleet, BATCH, "batch")
    words = service["ExecStart"].split()
    asked = fleet.hosts[BATCH].workers["batch"]
    assert words[words.index("-c") + 1] == str(MACHINE.cores)
    assert words[words.index("-P") + 1] == "prefork"
    for flag in (
        "--disable-prefetch",
        f"--max-memory-per-child={int(int(service['MemoryMax']) * 0.8) // MACHINE.cores // 1024}",
        f"--max-tasks-per-child={asked.max_tasks_per_child}",
        f"--soft-time-limit={asked.soft_time_limit}",
        f"--time-limit={asked.time_limit}",
    ):
        assert flag in words


def test_a_stop_kills_nobody_early(fleet: Fleet) -> None:
    for host, role in ((WEB, "web"), (BATCH, "batch"), (GPU, "gpu")):
        service = unit(fleet, host, role)
        assert service["KillMode"] == "mixed"
        assert int(service["TimeoutStopSec"]) > fleet.hosts[host].workers[role].time_limit
        assert service["Restart"] == "always"
        assert service["OOMPolicy"] == "continue"
        assert service["Slice"] == "fleet.slice"


def test_memory_limits_are_bytes(fleet: Fleet) -> None:
    limited = unit(with_web(fleet, memory_high=450 << 20, memory_max=500 << 20), WEB, "web")
    assert (limited["MemoryHigh"], limited["MemoryMax"]) == (str(450 << 20), str(500 << 20))


def test_processor_time_is_shared_as_asked_for(fleet: Fleet) -> None:
    plain = unit(fleet, WEB, "web")
    assert plain["CPUWeight"] == "100"
    assert "CPUQuota" not in plain
    quota = unit(with_web(fleet, cpu_weight=20, cpu_quota="150%"), WEB, "web")
    assert (quota["CPUWeight"], quota["CPUQuota"]) == ("20", "150%")


def test_a_worker_is_told_what_its_transports_need(fleet: Fleet) -> None:
    line = next(line for line in content(state_of(fleet, WEB), "/etc/fleet/web.env").splitlines() if "FLEET_CELERY" in line)
    celery = json.loads(line.removeprefix("FLEET_CELERY=")[1:-1].replace('\\"', '"'))
    timeout = plan_of(fleet).visibility_timeout
    own = {"visibility_timeout": timeout, "max_connections": 110}
    assert celery["broker_transport_options"] == {**TRANSPORT, **own}
    assert celery["result_backend_transport_options"] == {"visibility_timeout": timeout}
    assert celery["settings"] == RELIABILITY
    assert (timeout, celery["lease"]) == (3600, 60)


def test_what_is_left_to_the_app_is_not_told(fleet: Fleet) -> None:
    broker = fleet.hosts[fleet.records_host]
    settings = broker.settings.model_copy(update={"left_to_app": ["task_acks_late", "socket_timeout"]})
    left = replace(fleet, hosts={**fleet.hosts, fleet.records_host: replace(broker, settings=settings)})
    celery = plan_of(left).celery_settings(plan_of(fleet).workers[WEB]["web"])
    assert set(RELIABILITY) - set(celery["settings"]) == {"task_acks_late"}
    assert set(TRANSPORT) - set(celery["broker_transport_options"]) == {"socket_timeout"}


def test_a_watchdog_for_every_pool_that_can_have_one(fleet: Fleet) -> None:
    service = unit(fleet, BATCH, "batch")
    limit = fleet.hosts[BATCH].workers["batch"].time_limit
    assert service["WatchdogSec"] == str(max(300, limit))
    assert f"FLEET_STALL_TIMEOUT={max(300, limit)}" in content(
        state_of(fleet, BATCH), "/etc/systemd/system/celery-batch@1.service"
    )
    assert "WatchdogSec" not in unit(with_web(fleet, pool="solo"), WEB, "web")


def test_secrets_are_in_the_environment_file_alone(fleet: Fleet) -> None:
    state = state_of(fleet, WEB)
    holding = [file.path for file in state.files if b"password" in file.content]
    assert holding == ["/etc/fleet/web.env"]
    env = file_of(state, "/etc/fleet/web.env")
    assert (env.mode, env.owner, env.group) == (0o600, "root", "root")
    # A slash in a password is no part of the address.
    assert 'CELERY_BROKER_URL="redis://worker:worker%2Fpassword@10.0.0.10:6379/0"' in env.content.decode()


def test_an_environment_value_is_what_the_process_sees(fleet: Fleet) -> None:
    env = content(state_of(with_web(fleet, environment={"MOTTO": 'say "5 $" \\ `now`'}), WEB), "/etc/fleet/web.env")
    assert 'MOTTO="say \\"5 \\$\\" \\\\ \\`now\\`"\n' in env


def revision(fleet: Fleet, secrets: Mapping[str, str] = SECRETS) -> str | None:
    return worker.desired(run_of(fleet, secrets), fleet.hosts[WEB]).units[-1].revision


def test_the_revision_follows_unit_environment_and_release(fleet: Fleet) -> None:
    first = revision(fleet)
    assert first == revision(fleet)
    others = {
        revision(with_web(fleet, concurrency=7)),
        revision(with_web(fleet, environment={"A": "1"})),
        revision(fleet, {**SECRETS, "BROKER_WORKER_PASSWORD": "another"}),
    }
    assert len(others) == 3
    assert first not in others


def test_instances_have_units_and_names_of_their_own(fleet: Fleet) -> None:
    state = state_of(with_web(fleet, instances=2), WEB)
    assert [unit.name for unit in state.units] == ["fleet.target", "celery-web@1.service", "celery-web@2.service"]
    assert "--hostname=web-worker-2@%H" in content(state, "/etc/systemd/system/celery-web@2.service")


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_a_pool_brings_its_packages_and_only_when_chosen(fleet: Fleet, pool: str) -> None:
    settings = fleet.hosts[WEB].settings

    def pinned(pools: tuple[str, ...]) -> str:
        files = release.of(settings, pools, "3.11").files
        return next(file for file in files if file.path == "/requirements.txt").content.decode()

    assert f"\n{pool}==" in pinned((pool,))
    assert f"\n{pool}==" not in pinned(("prefork",))


def test_a_release_is_named_by_what_goes_in(fleet: Fleet) -> None:
    settings = fleet.hosts[WEB].settings
    first = release.of(settings, ("prefork",), "3.11")
    assert release.of(settings, ("prefork",), "3.11").id == first.id
    assert release.of(settings, ("gevent",), "3.11").id != first.id
    assert release.of(settings, ("prefork",), "3.13").id != first.id
    paths = {file.path for file in first.files}
    assert "/src/shop/app.py" in paths
    assert "/node/fleet_node/app/check.py" in paths
    assert not [path for path in paths if "__pycache__" in path]


def test_a_gpu_worker_sees_its_device_and_may_open_no_other(fleet: Fleet) -> None:
    text = content(state_of(fleet, GPU), "/etc/systemd/system/celery-gpu@1.service").splitlines()
    assert "Environment=CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0" in text
    allowed = [line.removeprefix("DeviceAllow=") for line in text if line.startswith("DeviceAllow=")]
    assert allowed == ["/dev/nvidia0 rw", "/dev/nvidiactl rw", "/dev/nvidia-uvm rw", "/dev/nvidia-uvm-tools rw"]
    assert "DevicePolicy=closed" in text
    assert {"After=fleet-gpu.service", "Wants=fleet-gpu.service"} <= set(text)
    web = content(state_of(fleet, WEB), "/etc/systemd/system/celery-web@1.service")
    assert "DeviceAllow" not in web
    assert "fleet-gpu" not in web


def test_the_watch_is_on_machines_with_devices_alone(fleet: Fleet) -> None:
    run = run_of(fleet)
    watch = gpu.desired(run, fleet.hosts[GPU])
    assert "--prepare --compute-mode default" in content(watch, gpu.UNIT_PATH)
    assert gpu.desired(run, fleet.hosts[WEB]).units == ()
