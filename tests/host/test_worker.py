"""Each worker has the flags, limits and settings of the inventory, on its machine and in Celery."""

import re
from typing import Any

import pytest
from celery import Celery

from fleet.plan import process
from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.spec.fleet import Fleet

CGROUP = "/sys/fs/cgroup"
PAGE = 4096  # bytes: what the kernel rounds down to


def _property(host: Any, unit: str, name: str) -> str:
    return str(host.check_output("systemctl show --value --property=%s %s", name, unit))


def test_unit_is_active_and_enabled(connect: Any, instance: Instance) -> None:
    host = connect(instance.host)
    assert host.service(instance.unit).is_running
    assert host.service(instance.unit).is_enabled


def test_process_has_the_flags_that_were_asked_for(connect: Any, instance: Instance, node_name: Any, fleet: Fleet) -> None:
    host = connect(instance.host)
    pid = _property(host, instance.unit, "MainPID")
    running = host.check_output("tr '\\0' '\\n' </proc/%s/cmdline", pid).splitlines()
    hostname = node_name(instance).split("@")[1]
    expected = [word.replace("%H", hostname) for word in process.arguments(instance.role, instance.sized, instance.number)]
    app = fleet.hosts[instance.host].settings.celery_app
    assert running[running.index("-A") :] == ["-A", app, "worker", *expected]


def test_process_runs_as_a_user_without_a_shell(connect: Any, instance: Instance) -> None:
    host = connect(instance.host)
    assert _property(host, instance.unit, "User") == "celery"
    assert host.user("celery").shell == "/usr/sbin/nologin"


def test_cgroup_has_the_memory_limits_that_were_asked_for(connect: Any, instance: Instance) -> None:
    host = connect(instance.host)
    group = _property(host, instance.unit, "ControlGroup")
    assert group.startswith("/fleet.slice/")
    for name, limit in (("memory.high", instance.sized.memory_high), ("memory.max", instance.sized.memory_max)):
        actual = host.file(f"{CGROUP}{group}/{name}").content_string.strip()
        assert actual == ("max" if limit is None else str(limit // PAGE * PAGE)), name


def test_a_stop_has_more_time_than_the_longest_task(connect: Any, instance: Instance) -> None:
    host = connect(instance.host)
    assert _property(host, instance.unit, "KillMode") == "mixed"
    timeout = host.check_output("systemctl show --property=TimeoutStopUSec --timestamp=unix %s", instance.unit)
    assert _seconds(timeout.removeprefix("TimeoutStopUSec=")) > instance.sized.worker.time_limit


def _seconds(span: str) -> float:
    """Seconds in a time span as systemd prints it, e.g. `11min 30s`."""
    factors = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
    total = 0.0
    for part in span.split():
        unit = part.lstrip("0123456789.")
        total += float(part.removesuffix(unit)) * factors[unit]
    return total


def test_worker_is_in_a_sandbox(connect: Any, instance: Instance) -> None:
    output = connect(instance.host).check_output("systemd-analyze --no-pager security %s | tail -n 1", instance.unit)
    exposure = float(re.search(r"level for \S+: ([\d.]+)", output)[1])  # type: ignore[index]
    assert exposure <= (2.0 if instance.sized.worker.workload == "gpu" else 1.5)


def test_status_says_how_busy_the_worker_is(connect: Any, instance: Instance) -> None:
    status = _property(connect(instance.host), instance.unit, "StatusText")
    assert re.fullmatch(
        rf"\d+/{instance.sized.concurrency} busy · [\d,]+ done · queues {','.join(instance.sized.worker.queues)}", status
    )


def test_environment_file_is_closed_to_others(connect: Any, instance: Instance) -> None:
    file = connect(instance.host).file(f"/etc/fleet/{instance.role}.env")
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)


def test_worker_answers_and_consumes_its_queues(celery_app: Celery, instance: Instance, node_name: Any) -> None:
    name = node_name(instance)
    inspect = celery_app.control.inspect(destination=[name], timeout=15, limit=1)
    assert inspect.ping() == {name: {"ok": "pong"}}
    queues = {queue["name"] for queue in inspect.active_queues()[name]}
    assert queues == set(instance.sized.worker.queues)


def test_worker_has_the_settings_of_the_plan(celery_app: Celery, instance: Instance, node_name: Any, plan: Plan) -> None:
    name = node_name(instance)
    actual = celery_app.control.inspect(destination=[name], timeout=15, limit=1).conf()[name]
    expected = plan.celery_settings(instance.sized)
    for setting in ("broker_transport_options", "result_backend_transport_options"):
        assert expected[setting].items() <= actual.get(setting, {}).items()
    assert expected["settings"].items() <= actual.items()
    if plan.visibility_timeout is not None:  # else the app's own setting applies
        assert actual["visibility_timeout"] == plan.visibility_timeout


def test_worker_renews_its_lease(celery_app: Celery, instance: Instance, node_name: Any, plan: Plan) -> None:
    if plan.lease is None:
        pytest.skip("the fleet has no lease")
    name = node_name(instance)
    conf = celery_app.control.inspect(destination=[name], timeout=15, limit=1).conf()[name]
    prefix = conf.get("broker_transport_options", {}).get("global_keyprefix", "")
    with celery_app.connection_for_read() as connection:
        redis = connection.default_channel.client
        leases = redis.zrange(f"{prefix}fleet.workers", 0, -1, withscores=True)
        now = redis.time()[0]
    latest = max((end for holder, end in leases if holder.decode().startswith(f"{name}|")), default=None)
    assert latest is not None, "it has no lease; fleet lint says why (unmended-defect, untried-version)"
    assert latest > now
