"""Pods of our manifests with real workers and a real Redis, under a stand-in for the kubelet: from none to four and back, a
rollout, and a drained node. No task is lost, and none runs twice."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from fleet.drill.ledger import Sent
from fleet.kubernetes import bundle, scaling
from fleet.kubernetes.autoscaler import SYNC, Autoscaler, scaling_of
from fleet.kubernetes.cluster import Cluster, on_kubernetes
from fleet.plan.plan import resolved
from fleet.spec.fleet import Inventory
from fleet.spec.load import load_fleet
from tests.unit.api_server_stand_in import ApiServer, api_server
from tests.unit.fleet.kubernetes.kubelet_stand_in import StandIn
from tests.unit.fleet.kubernetes.kubernetes_support import MACHINE, of_kind
from tests.unit.fleet_exporter.test_exporter import Exporter
from tests.unit.fleet_node.delivery.lease_support import leased, until
from tests.unit.process_support import Machine

TASKS = 200
FASTER = 8
"""Syncs of the autoscaler come so many times as fast as a controller's, which has one each 15 s."""
WEB: dict[str, Any] = {
    "queues": ["default"],
    "workload": "io",
    "pool": "threads",
    "concurrency": 10,
    "instances": 1,
    "time_limit": 60,
    "settle": 0,
    "kubernetes": {"scale": {"min": 0, "max": 4}},
}

pytestmark = pytest.mark.long


def cluster_of(here: Machine, image: str) -> Cluster:
    """One role on a Redis that is not the fleet's own."""
    everywhere = {"celery_app": "jobs", "app_source": "app", "broker": {"url": f"redis://127.0.0.1:{here.port}/0"}}
    fleet = load_fleet(Inventory({"web1": {**everywhere, "web_worker": WEB}}, {"web": ("web1",)}, frozenset({"web"})))
    return Cluster(on_kubernetes(resolved(fleet, {"web1": MACHINE})), {}, image, 37)


def deployment_of(cluster: Cluster) -> Any:
    return of_kind(cluster, "Deployment", "web")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with leased(tmp_path, lease=60) as here:
        yield here


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path / "api") as api:
        yield api


def sender(here: Machine, sent: list[Sent], over: Event) -> None:
    """Send tasks of 1 to 30 s, most of them short: a burst, and then some a second."""
    chance = random.Random(22)
    with here.client() as client, here.redis() as redis:
        for number in range(TASKS):
            seconds, micros = redis.time()
            takes = min(30.0, 1 + chance.expovariate(1 / 3))
            sent.append(Sent(number, "io", "default", seconds + micros / 1e6))
            client.send_task("fleet.drill", ["r", number, "io", takes], queue="default")
            if number >= TASKS // 2 and over.wait(0.2):
                return


def secrets_of(cluster: Cluster) -> dict[str, dict[str, str]]:
    """The Secrets by name, as the kubelet has them."""
    return {
        each["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in each["data"].items()}
        for each in bundle.secrets(cluster)
    }


def test_a_container_that_is_restarted_is_not_ready_by_what_the_one_before_left(here: Machine, tmp_path: Path) -> None:
    cluster = cluster_of(here, "shop:1")
    standing = StandIn(tmp_path / "pods", here.release("r"), secrets_of(cluster), deployment_of(cluster), replicas=1)
    try:
        standing.reconcile()
        (pod,) = standing.pods
        assert until(lambda: pod.is_ready and pod.probe("livenessProbe"), 60)
        pod.process.kill()
        pod.process.wait()
        assert pod.is_ready, "as the volume has it"
        pod.restart()
        assert until(lambda: not (pod.probe("startupProbe") or pod.probe("readinessProbe") or pod.probe("livenessProbe")), 10)
        assert until(lambda: pod.is_ready and pod.probe("livenessProbe"), 60)
    finally:
        standing.end()


def test_from_none_to_four_and_back(here: Machine, api: ApiServer, tmp_path: Path) -> None:
    cluster = cluster_of(here, "shop:1")
    autoscaler = Autoscaler(scaling_of(of_kind(cluster, "HorizontalPodAutoscaler", "web")))
    secrets = secrets_of(cluster)
    queue = {"consumers": 1, "minimum": 1, "roles": ["web"]}
    scaled = api.scaled(**scaling.deployments(cluster))
    exporter = Exporter(here, tmp_path / "exporter", lease=60, queues={"default": queue}, workers=[], scaled=scaled)
    standing = StandIn(tmp_path / "pods", here.release("r"), secrets, deployment_of(cluster), costs=api.costs)
    sent: list[Sent] = []
    over = Event()
    sending = Thread(target=sender, args=(here, sent, over))
    numbers: list[int] = []
    begun = time.monotonic()

    def sync() -> None:
        """A look of the autoscaler, and of the Deployment's controller."""
        now = (time.monotonic() - begun) * FASTER
        metrics = exporter.scrape()
        ready = sum(pod.is_ready for pod in standing.alive)
        standing.replicas = autoscaler.sync(now, metrics.value("fleet_role_tasks", role="web"), standing.replicas, ready)
        standing.reconcile()
        numbers.append(standing.replicas)
        time.sleep(SYNC / FASTER)

    def syncs(done: Any, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            sync()
        return bool(done())

    def ready() -> int:
        return sum(pod.is_ready for pod in standing.alive)

    try:
        with exporter.running(api.environment):
            sync()
            assert standing.replicas == 0, "nothing waits"
            sending.start()
            assert syncs(lambda: ready() == 4, 120)

            newer = cluster_of(here, "shop:2")
            before = {pod.name for pod in standing.alive}
            standing.roll_out(deployment_of(newer), 240)
            assert not before & {pod.name for pod in standing.alive}

            budget = of_kind(cluster, "PodDisruptionBudget", "web")
            victim = standing.alive[0]
            assert until(lambda: standing.evict(victim, budget), 120)
            assert not standing.evict(standing.alive[0], budget), "one at a time"
            standing.reconcile()
            assert until(lambda: ready() == 4, 120), "another has come"

            sending.join()
            assert syncs(lambda: len({number for number, what, *_ in here.entries("r") if what == "end"}) == TASKS, 240)
            assert syncs(lambda: standing.replicas == 0 and not standing.pods, 240)
        assert max(numbers) == 4
        result = here.account("r", sent)
        assert (result.lost, result.run_twice, result.finished) == ((), (), TASKS)
        assert [pod.name for pod in standing.gone if pod.killed] == [], "none needed longer than its grace"
        assert {pod.process.returncode for pod in standing.gone} == {0}
        assert {cost > 0 for _, cost in api.patches} == {True, False}, "pods were busy, and idle"
    finally:
        over.set()
        standing.end()
