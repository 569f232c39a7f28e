"""Every rule, with a fleet that it passes and one that it does not; the message names the numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.lint import RULES, Finding, lint
from fleet.lint.app import App, AppTask
from fleet.plan.facts import MachineFacts
from fleet.plan.gpu import Device, GpuReport
from fleet.plan.plan import Plan, resolved
from tests.unit.fleet_support import GB, MACHINE, fleet_of, make_app, plan_of

WEB: dict[str, Any] = {"queues": ["default"], "workload": "io"}
BATCH: dict[str, Any] = {
    "queues": ["batch"],
    "workload": "cpu",
    "memory_per_slot": "100M",
    "soft_time_limit": 240,
    "time_limit": 300,
}
TASKS = (
    AppTask(name="shop.order", queues=("default",), acks_late=True, reject_on_worker_lost=True, retry_delay=180),
    AppTask(name="shop.report", queues=("batch",), acks_late=True, reject_on_worker_lost=True, retry_delay=180),
)
APP = App(app="shop.app", celery="5.6.3", kombu="6.0.0", tasks=TASKS, queues=("default", "batch"), default_queue="default")


@pytest.fixture(autouse=True)
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)


def plan(
    web: dict[str, Any] | None = None,
    batch: dict[str, Any] | None = None,
    machine: MachineFacts = MACHINE,
    hosts_a_role: int = 2,
    broker: dict[str, Any] | None = None,
    **settings: Any,
) -> Plan:
    workers = {"web": {**WEB, **(web or {})}, "batch": {**BATCH, **(batch or {})}}
    return plan_of(fleet_of(workers, broker=broker, hosts_a_role=hosts_a_role, **settings), machine)


def app_with(task: dict[str, Any] | None = None, **more: Any) -> App:
    """The app, with its second task (in batch) changed, or other fields."""
    tasks = (TASKS[0], TASKS[1].model_copy(update=task)) if task else TASKS
    return APP.model_copy(update={"tasks": tasks, **more})


def two_apps_on_one_queue() -> Plan:
    one = plan(batch={"queues": ["default"]})
    hosts = {
        name: replace(host, settings=host.settings.model_copy(update={"celery_app": "other.app"})) if "batch" in name else host
        for name, host in one.fleet.hosts.items()
    }
    return plan_of(replace(one.fleet, hosts=hosts))


A30 = GpuReport((Device(0, 0, "GPU-aa", "NVIDIA A30"),), on_bus=1, driver="535.261.03", cuda=(12, 2))


def gpu_plan(found: GpuReport, instances: Any = "auto", **settings: Any) -> Plan:
    """batch has GPUs: what its machines say of them is `found`."""
    return plan(
        batch={"workload": "gpu", "instances": instances},
        machine=MachineFacts(4, 8 * GB, found.count, found),
        **settings,
    )


def found(rule: str, plan: Plan, app: App = APP) -> list[Finding]:
    return [finding for finding in lint(plan, (app,)) if finding.rule == rule]


def test_a_good_fleet_has_nothing_to_find() -> None:
    assert lint(plan(), (APP,)) == ()


def test_a_gpu_fleet_that_is_well_has_nothing_to_find() -> None:
    assert [str(one) for one in lint(gpu_plan(A30, gpus=1, nvidia={"cuda": "12.1"}), (APP,))] == []


SMALL = MachineFacts(cores=4, memory=GB // 2, gpus=0)
# rule → what breaks it (a plan, and the app where that matters), and what the message has to say.
BROKEN: dict[str, tuple[Any, App, str]] = {
    "soft-limit": (
        lambda: plan(batch={"soft_time_limit": 300}),
        APP,
        "batch_worker.soft_time_limit: 300 is not below time_limit 300",
    ),
    "stop-timeout": (lambda: plan(batch={"stop_timeout": 90}), APP, "batch_worker.stop_timeout: 90 is not above time_limit 300"),
    "drain-timeout": (
        lambda: plan(batch={"drain_timeout": 400}),
        APP,
        "batch_worker.drain_timeout: 400 is not below stop_timeout 360; leave it out",
    ),
    "limit-not-enforced": (
        lambda: plan(web={"pool": "threads", "time_limit": 50}),
        APP,
        "web_worker.time_limit: threads does not enforce 50",
    ),
    "visibility-timeout": (
        lambda: plan(batch={"longest_eta": 7200}, visibility_timeout=3600),
        APP,
        "visibility_timeout: 3600 is not above the 7680 s that a worker of batch may hold a task (time_limit 300 + longest_eta "
        "7200 + retry_delay 180); write more than 7680",
    ),
    "visibility-places": (
        lambda: plan(visibility_timeout="app"),
        app_with(settings={"broker_transport_options": {"visibility_timeout": 7200}}),
        "shop.app: result_backend_transport_options.visibility_timeout: 3600, and 7200 in broker_transport_options",
    ),
    "task-time-limit": (
        plan,
        app_with({"time_limit": 900}),
        "batch_worker.time_limit: 300 is less than the 900 that the app gives shop.report, which goes before it, and the "
        "stop and visibility timeouts are made from it; write 900",
    ),
    "task-soft-limit": (
        plan,
        app_with({"soft_time_limit": 300}),
        "batch_worker.soft_time_limit: 300 (the app's) is not below time_limit 300 (the role's), for shop.report",
    ),
    "task-retry-delay": (
        plan,
        app_with({"retry_delay": 3600}),
        "batch_worker.retry_delay: 180 is less than the 3600 of shop.report",
    ),
    "early-ack": (
        lambda: plan(left_to_app=["task_acks_late"]),
        app_with({"acks_late": False}),
        "shop.app: task_acks_late: not for shop.report",
    ),
    "late-ack": (plan, app_with({"acks_late": False}), "shop.app: task_acks_late: set for shop.report"),
    "at-most-once-unknown": (lambda: plan(at_most_once=["shop.pay*"]), APP, "at_most_once: shop.pay*: shop.app has no such task"),
    "reject-on-worker-lost": (
        lambda: plan(left_to_app=["task_reject_on_worker_lost"]),
        app_with({"reject_on_worker_lost": False}),
        "shop.app: task_reject_on_worker_lost: not for shop.report, which have acks_late",
    ),
    "long-prefetch": (
        lambda: plan(batch={"prefetch": 4}),
        APP,
        "batch_worker.prefetch: 4: a task may wait 900 s behind 3 × 300 s while another worker is idle",
    ),
    "polling-interval": (
        lambda: plan(web={"polling_interval": 2}),
        APP,
        "web_worker.polling_interval: 2.0 in gevent: it has to be above 2",
    ),
    "soft-limit-pool": (
        lambda: plan(web={"soft_time_limit": 60}),
        APP,
        "web_worker.soft_time_limit: 60 is never raised in gevent",
    ),
    "task-soft-limit-pool": (
        lambda: plan(batch={"pool": "threads", "soft_time_limit": None, "workload": "io"}),
        app_with({"soft_time_limit": 30}),
        "batch_worker.pool: threads never raises the soft limit of shop.report",
    ),
    "cpu-in-one-process": (
        lambda: plan(batch={"pool": "threads", "soft_time_limit": None, "memory_per_slot": None}),
        APP,
        "batch_worker.pool: threads runs 100 cpu tasks on one core; write prefork, or workload io",
    ),
    "unknown-rule": (
        lambda: plan(lint_ignore={"single-consumr": "x"}),
        APP,
        "lint_ignore: no rule is called single-consumr; did you mean single-consumer?",
    ),
    "setting-of-prefork": (
        lambda: plan(web={"max_tasks_per_child": 500}),
        APP,
        "web_worker.max_tasks_per_child: 500 does nothing in gevent",
    ),
    "cold-stop": (
        lambda: plan(web={"environment": {"REMAP_SIGTERM": "SIGQUIT"}}),
        APP,
        "web_worker.environment.REMAP_SIGTERM: SIGQUIT: a stop of gevent would drop what it runs",
    ),
    "memory-fit": (
        lambda: plan(batch={"memory_max": "2G", "concurrency": 8, "memory_per_slot": "400M"}),
        APP,
        "batch_worker.concurrency: 8 × 400M + 38M is more than memory_max 2048M; write at most 4",
    ),
    "gpu-missing": (
        lambda: gpu_plan(GpuReport()),
        APP,
        'batch_worker.instances: no GPU found; install its driver, or have it installed: nvidia = {"driver": "debian"}',
    ),
    "gpu-driver": (
        lambda: gpu_plan(GpuReport(on_bus=1, trouble="Failed to initialize NVML: Driver/library version mismatch")),
        APP,
        "nvidia.driver: existing, and nvidia-smi says: Failed to initialize NVML: Driver/library version mismatch; mend it",
    ),
    "gpu-count": (
        lambda: gpu_plan(A30, gpus=4),
        APP,
        'gpus: 4, and the machine has 1 (0: NVIDIA A30); mend it, or say so for this host: {"gpus": 1}',
    ),
    "gpu-lost": (lambda: gpu_plan(replace(A30, on_bus=2)), APP, "gpus: the bus has 2 NVIDIA devices, and nvidia-smi lists 1"),
    "gpu-names": (
        lambda: gpu_plan(GpuReport(on_bus=1), nvidia={"driver": "debian", "devices_by": "uuid"}),
        APP,
        "nvidia.devices_by: uuid, and there is no driver yet that tells it",
    ),
    "gpu-shared": (
        lambda: gpu_plan(A30, instances=2, nvidia={"compute_mode": "exclusive"}),
        APP,
        "batch_worker.instances: 2 on 1 device(s), and nvidia.compute_mode is exclusive",
    ),
    "gpu-repository": (
        lambda: gpu_plan(
            A30, nvidia={"repository": {"uri": "https://v/", "suite": "./", "key": "v.asc", "fingerprint": "0" * 40}}
        ),
        APP,
        "nvidia.repository.key: v.asc: [Errno 2] No such file or directory: 'v.asc'",
    ),
    "cuda-too-new": (
        lambda: gpu_plan(A30, nvidia={"cuda": "13.0"}),
        APP,
        "nvidia.cuda: the app brings CUDA 13.0, and driver 535.261.03 runs up to 12.2: pin wheels for 12.2, or a newer driver",
    ),
    "cuda-newer": (
        lambda: gpu_plan(GpuReport(on_bus=1, distribution="debian 12"), nvidia={"driver": "debian", "cuda": "12.4"}),
        APP,
        "nvidia.cuda: the app brings CUDA 12.4, and driver 535 is of 12.2: what is compiled when it runs (PTX) fails",
    ),
    "memory-tight": (
        lambda: plan(batch={"memory_max": "500M", "memory_high": "400M"}),
        APP,
        "batch_worker.memory_max: 438M expected, above memory_high 400M",
    ),
    "memory-assumed": (
        lambda: plan(batch={"memory_per_slot": None}),
        APP,
        "batch_worker.memory_per_slot: not given: taken for 26M a task at once",
    ),
    "memory-lowered": (
        lambda: plan(batch={"memory_max": "1G", "memory_per_slot": "400M"}),
        APP,
        "batch_worker: concurrency 4 → 2: 4 × 400M + 38M is more than memory_max 1024M",
    ),
    "memory-high": (
        lambda: plan(batch={"memory_max": "1G", "memory_high": "2G"}),
        APP,
        "batch_worker.memory_high: 2048M is not below memory_max 1024M",
    ),
    "recycled-at-once": (
        lambda: plan(batch={"memory_max": "1G", "max_memory_per_child": "50M"}),
        APP,
        "batch_worker.max_memory_per_child: 50M is less than a child takes to begin with",
    ),
    "memory-machine": (
        lambda: plan(batch={"memory_max": "9G"}),
        APP,
        "memory_max: batch 1 × 9216M + reserve 819M: 10035M, more than the machine's 8192M",
    ),
    "memory-surge": (
        lambda: plan(batch={"memory_per_slot": "1G"}, hosts_a_role=1),
        APP,
        "batch_worker: a rollout has to start one more worker beside these: 4134M + 4134M expected, and there are 7373M",
    ),
    "broker-memory": (
        lambda: plan(broker={"maxmemory": "6G", "memory_max": "5G"}),
        APP,
        "broker.maxmemory: 6144M is not below memory_max 5120M",
    ),
    "broker-rewrite": (
        lambda: plan(broker={"maxmemory": "60%"}),
        APP,
        "broker.maxmemory: 2 × 4915M while the append-only file is rewritten is more than memory_max 6963M",
    ),
    "broker-eviction": (
        lambda: plan(broker={"maxmemory_policy": "allkeys-lru"}),
        APP,
        "broker.maxmemory_policy: allkeys-lru throws tasks away",
    ),
    "broker-persistence": (lambda: plan(broker={"appendonly": False}), APP, "broker.appendonly: False: a restart of Redis loses"),
    "broker-url": (
        lambda: plan(environment={"CELERY_BROKER_URL": "valkey://10.0.0.9:6379"}),
        APP,
        "environment.CELERY_BROKER_URL: valkey:// is unknown to Celery; for a Valkey write redis://",
    ),
    "known-defect": (
        plan,
        app_with(celery="5.7.0"),
        "shop.app: celery 5.7.0: a worker that holds tasks ends when its broker goes away",
    ),
    "hand-over": (
        plan,
        app_with(kombu="5.6.2"),
        "shop.app: kombu 5.6.2: a reset machine or a cut network may lose a task for each of its workers; pin 5.7.0",
    ),
    "connections-broker": (
        lambda: plan(broker={"maxclients": 500}),
        APP,
        "broker.maxclients: 500, and the fleet may open ",
    ),
    "connections-files": (
        lambda: plan(web={"concurrency": 40000, "instances": 1}, broker={"maxclients": 200000}),
        APP,
        "web_worker.concurrency: 40000 tasks at once may open ",
    ),
    "connections-database": (
        lambda: plan(web={"database_connections": 20}, batch={"database_connections": 5}, database_max_connections=100),
        APP,
        "database_max_connections: 100, and the fleet may open 200 (web 160 + batch 40)",
    ),
    "queue-without-consumer": (
        plan,
        app_with({"queues": ("reports",)}),
        "shop.app: queue reports: no worker consumes it, and this is routed there: shop.report; add reports to a role's queues",
    ),
    "queue-without-task": (
        lambda: plan(batch={"queues": ["batch", "bacth"]}),
        APP,
        "batch_worker.queues: no task is routed to bacth; did you mean batch?",
    ),
    "default-queue": (
        plan,
        app_with(default_queue="celery"),
        "shop.app: task_default_queue: nobody consumes celery, where all goes that has no route",
    ),
    "queue-not-declared": (
        lambda: plan(batch={"queues": ["batch", "later"]}),
        app_with(settings={"task_create_missing_queues": False}),
        "batch_worker.queues: later not in the app's task_queues (default, batch)",
    ),
    "route-fails": (
        plan,
        app_with({"queues": (), "route_error": "KeyError: 'x'"}),
        "shop.app: task_routes: shop.report cannot be routed: KeyError: 'x'",
    ),
    "min-consumers": (
        lambda: plan(batch={"min_consumers": 3}),
        APP,
        "batch_worker.min_consumers: 3, and queue batch has 2 in all; write at most 2",
    ),
    "single-consumer": (lambda: plan(hosts_a_role=1), APP, "batch_worker.queues: one consumer in the whole fleet for batch"),
    "unused-group-data": (
        lambda: replace(plan(), fleet=replace(plan().fleet, unused_group_data=("batsh",))),
        APP,
        "group_data/batsh.py: no host is in a group batsh; did you mean batch?",
    ),
    "app-eager": (plan, app_with(settings={"task_always_eager": True}), "shop.app: task_always_eager: True"),
    "app-remote-control": (
        plan,
        app_with(settings={"worker_enable_remote_control": False}),
        "shop.app: worker_enable_remote_control: False: a rollout could not ask its workers",
    ),
    "app-events": (plan, app_with(settings={"worker_send_task_events": True}), "shop.app: worker_send_task_events: True"),
    "app-overruled": (
        plan,
        app_with(settings={"worker_concurrency": 16}),
        "shop.app: worker_concurrency: 16, and the workers of web get 100 by flag, which wins",
    ),
    "app-broker-read": (
        plan,
        app_with(settings={"broker_read_url": "redis://old:6379"}),
        "shop.app: broker_read_url: redis://old:6379 goes before the fleet's own broker",
    ),
    "shared-queue": (
        two_apps_on_one_queue,
        APP,
        "queue default: consumed by workers of shop.app (web) and other.app (batch)",
    ),
    "app-broker": (
        plan,
        app_with(broker="redis://localhost:6379"),
        "shop.app: broker_url: redis://localhost:6379; workers get redis://10.0.0.10:6379",
    ),
}


def test_every_rule_is_here() -> None:
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_finds_what_it_is_for_and_names_the_numbers(rule: str) -> None:
    make, app, message = BROKEN[rule]
    findings = found(rule, make(), app)
    assert findings, f"{rule} found nothing"
    assert any(str(finding).startswith(message) for finding in findings), [str(finding) for finding in findings]
    assert all(finding.level == RULES[rule].level for finding in findings)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_says_why_it_is_one(rule: str) -> None:
    assert len(RULES[rule].about) > 40


def test_the_same_on_many_hosts_is_said_once() -> None:
    (finding,) = found("memory-machine", plan(batch={"memory_max": "9G"}, hosts_a_role=5))
    assert finding.hosts == ("batch1", "batch2", "batch3", "batch4", "batch5")
    assert "(batch1, batch2, batch3 and 2 more)" in str(finding)


def test_a_rule_is_silenced_by_name_and_with_a_reason() -> None:
    one = plan(hosts_a_role=1, lint_ignore={"single-consumer": "one machine is all we have"})
    (finding,) = found("single-consumer", one)
    assert (finding.silenced, finding.counts) == ("one machine is all we have", False)


def test_what_one_rule_breaks_is_fine_for_the_others_where_the_app_is_not_known() -> None:
    assert lint(plan()) == ()


def test_an_automatic_visibility_timeout_is_above_all_that_a_worker_may_hold() -> None:
    one = plan(batch={"longest_eta": 86400, "prefetch": 2})
    assert one.visibility_timeout == 2 * 300 + 86400 + 180 + 60
    assert found("visibility-timeout", one) == []


def test_machines_that_nobody_asked_count_but_are_not_judged() -> None:
    fleet = fleet_of({"web": WEB, "batch": {**BATCH, "time_limit": 7200}})
    limited = resolved(fleet, {"web1": MACHINE})
    assert limited.visibility_timeout == plan_of(fleet).visibility_timeout == 7200 + 180 + 60
    assert limited.consumers == {"default": 8, "batch": 2}
    assert lint(limited, (APP,)) == ()
    small = resolved(fleet_of({"batch": {**BATCH, "memory_max": "9G"}}), {"batch1": MACHINE})
    (finding,) = [finding for finding in lint(small) if finding.rule == "memory-machine"]
    assert finding.hosts == ("batch1",)


def test_a_timeout_that_is_the_apps_is_not_judged_without_the_app() -> None:
    one = plan(batch={"time_limit": 7200}, visibility_timeout="app")
    assert lint(one) == ()
    assert [finding.rule for finding in lint(one, (APP,)) if finding.level == "error"] == ["visibility-timeout"]


def test_what_one_host_has_of_its_own_is_seen() -> None:
    one = plan()
    host = one.fleet.hosts["web2"]
    settings = host.settings.model_copy(
        update={"environment": {"REMAP_SIGTERM": "SIGQUIT", "BROKER_URL": "redis://u:pw@h:6379/0?p=pw2"}}
    )
    changed = plan_of(replace(one.fleet, hosts={**one.fleet.hosts, "web2": replace(host, settings=settings)}))
    assert [finding.hosts for finding in found("cold-stop", changed)] == [("web2",)]
    (finding,) = found("broker-url", changed)
    assert "redis://h:6379 goes before the fleet's own broker" in str(finding)
    assert "pw" not in str(finding)


def test_a_broker_among_the_secrets_is_found() -> None:
    (finding,) = found("broker-url", plan(web={"secrets": ["CELERY_BROKER_URL"]}))
    assert str(finding).startswith("web_worker.secrets: CELERY_BROKER_URL goes before the fleet's own broker")
