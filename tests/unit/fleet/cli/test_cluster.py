"""`fleet load`, `fleet queues` and `fleet top` of a fleet in a cluster: kubectl is a stand-in, pods are made of our manifests,
and the worker of one of them runs here."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet.inventory.kubectl import KubectlError, forward
from fleet.kubernetes import pods
from fleet.kubernetes.bundle import documents
from fleet.observe.watch import Watch
from tests.unit.fleet.cli.native_support import Project, project
from tests.unit.fleet.cli.top_support import shown
from tests.unit.fleet_node.delivery.lease_support import begun, send, until

pytestmark = pytest.mark.long
BUSY, CRASHED, PENDING = (f"celery-web-7d4b9c-{letter * 5}" for letter in "abc")
CLUSTER = ("--kubeconfig", "cluster.json", "--namespace", "shop")


def pod(template: Any, name: str, **status: Any) -> Any:
    """As Kubernetes' API has one."""
    metadata = {**template["metadata"], "name": name, "namespace": "shop"}
    return {"metadata": metadata, "spec": template["spec"], "status": status}


def container(state: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """The status of the worker's container."""
    return [{"name": "worker", "state": state, "restartCount": 0, "started": "running" in state, **more}]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A fleet of three pods: one works, one was killed for memory, and no node takes the third."""
    with project(tmp_path) as made:
        commands = tmp_path / "bin"
        commands.mkdir()
        kubectl = commands / "kubectl"
        kubectl.write_text(f"#!{sys.executable}\n" + (Path(__file__).parent / "kubectl_stand_in.py").read_text())
        kubectl.chmod(0o700)
        monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
        done = made.fleet("k8s", "prod.py", "--image", "shop:1.2", "--assume", "cores=4,memory=8G", "--namespace", "shop")
        assert done.returncode == 0, done.stderr
        template = next(
            each for each in documents((made.folder / "k8s/base/web.yaml").read_text()) if each["kind"] == "Deployment"
        )["spec"]["template"]
        template["spec"]["containers"][0]["env"].append({"name": "FLEET_RELEASE", "value": "1.2"})
        since = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
        killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
        unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
        write_cluster(
            made,
            pods=[
                pod(template, BUSY, containerStatuses=container({"running": {"startedAt": since}})),
                pod(template, CRASHED, containerStatuses=container(waiting, lastState=killed, restartCount=3)),
                pod(template, PENDING, conditions=[unscheduled]),
            ],
            logs={BUSY: "2026-12-01T00:00:00Z ready\n"},
        )
        made.here.hostname = BUSY
        made.here.start(made.here.release("1.2"))
        yield made


def relays() -> list[str]:
    """Command lines of what relays now, of children of this process."""
    lines = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            words = (path / "cmdline").read_text().split("\0")
            if int(parent) == os.getpid() and "fleet-redis" in words:
                lines.append(" ".join(words))
    return lines


def write_cluster(made: Project, **changes: Any) -> None:
    file = made.folder / "cluster.json"
    before = json.loads(file.read_text()) if file.exists() else {"namespace": "shop", "relay": "deployment/fleet-exporter"}
    file.write_text(json.dumps({**before, **changes}))


def test_the_load_of_pods(shop: Project) -> None:
    with shop.here.client() as client:
        for number in range(3):
            send(client, number, 20)
        assert until(lambda: len(begun(shop.here)) == 3)
    load = shop.json("load", "prod.py", *CLUSTER)
    workers = {name: (worker["state"], worker["why"]) for name, worker in load["workers"].items()}
    assert workers == {
        f"web-worker-1@{BUSY}": ("busy", ""),
        f"web-worker-1@{CRASHED}": ("dead", "killed for memory, 3 restarts, to be started again"),
        f"web-worker-1@{PENDING}": ("dead", "no node takes it: 0/3 nodes are available"),
    }
    busy = load["workers"][f"web-worker-1@{BUSY}"]
    assert (busy["active"], busy["slots"], busy["release"]) == (3, 4, "1.2")
    assert 7100 < busy["up_s"] < 7300
    assert load["roles"]["web"]["workers"] == 3
    done = shop.fleet("load", "prod.py", *CLUSTER)
    assert (done.returncode, done.stderr) == (1, "")
    kubectl = "kubectl --kubeconfig cluster.json --namespace shop"
    why = f"- web-worker-1@{PENDING} is dead: no node takes it: 0/3 nodes are available; {kubectl} describe pod {PENDING}"
    assert why in done.stdout.splitlines()


def test_the_queues_of_pods(shop: Project) -> None:
    with shop.here.client() as client:
        for number in range(20):
            send(client, number, 20)
        assert until(lambda: len(begun(shop.here)) == 4)
    queue = shop.json("queues", "prod.py", *CLUSTER)["queues"]["default"]
    assert (queue["consumers"], queue["expected_consumers"], queue["in_flight"]["running"]) == (1, 3, 4)
    assert queue["waiting"] + queue["in_flight"]["prefetched"] == 16


@pytest.mark.parametrize(
    ("words", "cluster", "complaint"),
    [
        (("--namespace", "other"), {}, "no pod of web is in the namespace: apply the manifests, or name another --namespace"),
        ((), {"error": "Unable to connect to the server: connection refused"}, "kubectl: Unable to connect to the server"),
    ],
)
def test_a_cluster_that_cannot_be_looked_at(shop: Project, words: tuple[str, ...], cluster: Any, complaint: str) -> None:
    write_cluster(shop, **cluster)
    for command in ("load", "queues"):
        done = shop.fleet(command, "prod.py", *CLUSTER, *words)
        assert done.returncode == 2
        assert complaint in done.stderr


def test_pods_that_have_ended_are_not_counted(shop: Project) -> None:
    cluster = json.loads((shop.folder / "cluster.json").read_text())
    evicted = {**cluster["pods"][2], "status": {"phase": "Failed", "reason": "Evicted"}}
    write_cluster(shop, pods=[cluster["pods"][0], evicted])
    done = shop.fleet("load", "prod.py", *CLUSTER)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_role_that_reaches_zero(shop: Project) -> None:
    group = shop.folder / "group_data" / "web.py"
    group.write_text(group.read_text().replace('"instances": 1', '"kubernetes": {"scale": {"min": 0, "max": 4, "by": "keda"}}'))
    write_cluster(shop, pods=[])
    shop.here.end()
    queues = shop.fleet("queues", "prod.py", *CLUSTER)
    assert (queues.returncode, queues.stderr) == (0, ""), queues.stdout
    load = shop.json("load", "prod.py", *CLUSTER)
    assert (load["workers"], load["roles"]["web"]["workers"], load["broker"]) == ({}, 0, "answers")
    with shop.here.client() as client:
        send(client, 1, 1)
    assert shop.fleet("queues", "prod.py", *CLUSTER).returncode == 1, "a task waits, and nobody consumes"


def test_pods_that_are_none(shop: Project) -> None:
    template: Any = json.loads((shop.folder / "cluster.json").read_text())["pods"][0]
    nulls = {**template, "status": {"containerStatuses": None, "conditions": None}}
    write_cluster(shop, pods=[nulls])
    assert shop.json("load", "prod.py", *CLUSTER)["workers"][f"web-worker-1@{BUSY}"]["state"] != "dead"
    odd: list[Any] = [{}, 1, {**template, "spec": {}}, {**template, "status": {"containerStatuses": [{}]}}]
    for each in odd:
        write_cluster(shop, pods=[each])
        done = shop.fleet("load", "prod.py", *CLUSTER)
        assert done.returncode == 2 and "kubectl get pods: it printed a pod that is none" in done.stderr, done.stderr
    write_cluster(shop, pods={"a": 1})
    assert "kubectl get pods: it printed no list" in shop.fleet("queues", "prod.py", *CLUSTER).stderr


def test_an_exporter_that_is_missing(shop: Project) -> None:
    write_cluster(shop, relay="deployment/another")
    load = shop.json("load", "prod.py", *CLUSTER)
    assert 'deployments.apps "fleet-exporter" not found' in load["broker"]
    assert load["workers"][f"web-worker-1@{BUSY}"]["state"] == "unknown"


def test_without_kubectl(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(shutil.which("sh") or "").parent / "none"))
    done = shop.fleet("load", "prod.py", *CLUSTER)
    assert (done.returncode, done.stderr) == (2, "kubectl is not installed here, or not in PATH\n")


def test_what_relays_ends_with_its_client(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)
    access = pods.access(Path("cluster.json"), "shop")
    started: list[Any] = []
    with forward(access, "fleet-redis", shop.here.port, started.append) as port:
        from redis import Redis

        with Redis(port=port, username="worker", password="worker-password") as client:
            assert client.set("big", b"x" * 5_000_000)
            assert len(client.get("big") or b"") == 5_000_000
        assert until(lambda: started and all(process.poll() is not None for process in started))
    for _ in range(10):
        with forward(access, "fleet-redis", shop.here.port, started.append) as port:
            socket.create_connection(("127.0.0.1", port)).close()
        assert not relays(), "one that came at the end leaves nothing"
    write_cluster(shop, relay="deployment/another")
    with pytest.raises(KubectlError, match="not found"), forward(access, "fleet-redis", shop.here.port):
        pass


def test_the_screen(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)
    access = pods.access(Path("cluster.json"), "shop")

    async def see() -> None:
        watch = Watch(Path("prod.py"), 0.5, lambda: pods.survey(Path("prod.py"), access))
        async with shown(watch, (160, 40)) as screen:
            await screen.press("2")
            assert await screen.shows(rf"{BUSY} .*idle"), screen.text
            assert await screen.shows("no node takes it"), screen.text

    asyncio.run(see())


def test_nothing_is_done_to_pods(shop: Project) -> None:
    done = shop.fleet("top", "prod.py", *CLUSTER, "--allow-actions")
    assert done.returncode == 2
