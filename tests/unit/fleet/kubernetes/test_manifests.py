"""The manifests are what three Kubernetes' schemas know, kustomize builds them, and they hold no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

import fleet_exporter.settings
from fleet.kubernetes import beat, bundle, checks, scaling
from fleet.kubernetes.cluster import MINORS, Cluster, ClusterError
from fleet.kubernetes.names import LabelError
from fleet.spec.broker import External
from tests.unit.fleet.kubernetes.kubelet_stand_in import expanded
from tests.unit.fleet.kubernetes.kubernetes_support import BATCH, GPU, HIDDEN, IMAGE, ROLES, WEB, cluster_of, of_kind, written

SCALED = {"web": {**WEB, "kubernetes": {"scale": {"min": 1, "max": 20}}}, "batch": BATCH}


def built(overlay: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    kubectl = Path(sys.executable).parent / "kubectl"
    done = subprocess.run([kubectl, "kustomize", overlay], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return list(bundle.documents(done.stdout))


@pytest.mark.parametrize("minor", [*(pytest.param(minor, marks=pytest.mark.long) for minor in MINORS[:-1]), MINORS[-1]])
@pytest.mark.parametrize("roles", [ROLES, SCALED], ids=["fixed", "scaled"])
def test_kubernetes_knows_every_field(tmp_path: Path, minor: int, roles: dict[str, Any]) -> None:
    cluster = cluster_of(roles, minor, slo={"default": 10})
    objects = built(written(cluster, tmp_path))
    assert {each["kind"] for each in objects} >= {"Deployment", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"}
    for each in [*objects, *bundle.secrets(cluster), bundle.tls_secret("shop", b"certificate", b"key")]:
        kubernetes_validate.validate(each, f"1.{minor}", strict=True)
    assert checks.mistakes(objects, minor) == []
    admission = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    everywhere = {"APIService", "ClusterRole", "ClusterRoleBinding", *admission}
    assert {each["metadata"].get("namespace") for each in objects if each["kind"] not in everywhere} == {"shop"}
    assert {each["metadata"].get("namespace") for each in objects if each["kind"] in everywhere} == {None}
    api = next(each for each in objects if each["kind"] == "APIService")
    assert api["spec"]["service"] == {"name": "fleet-exporter", "namespace": "shop", "port": 443}
    (subject,) = next(each for each in objects if each["kind"] == "ClusterRoleBinding")["subjects"]
    assert subject["namespace"] == "kube-system", "the autoscaler's own"
    assert {each["kind"] for each in objects if each["kind"] in admission} == (admission if roles is SCALED else set())


def test_an_overlay_has_the_image_and_how_many_pods(tmp_path: Path) -> None:
    objects = built(written(cluster_of(image="registry.example.com:5000/shop/app@sha256:" + "ab" * 32), tmp_path))
    (web,) = (each for each in objects if each["kind"] == "Deployment" and each["metadata"]["name"] == "celery-web")
    (container,) = web["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com:5000/shop/app@sha256:" + "ab" * 32
    assert web["spec"]["replicas"] == 16, "two machines of eight cores, one instance a core"
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert env["FLEET_RELEASE"] == "ab" * 6
    assert env["FLEET_REVISION"]


def test_a_value_comes_to_the_worker_as_it_is_written(tmp_path: Path) -> None:
    """By kustomize, which is kubectl's own reader, and the kubelet's rules."""
    texts = ["4712e08", "1e3", "0o17", "0x1F", ".5", "-1", "y", "N", "yes", "null", "~", "1_000", "12:30", "2026-12-01", " a"]
    dollars = ["$", "$$", "$(FLEET_POD)", "$$(HOME)", "a$b", "pa$$word", "$(", "$)"]
    values = {f"VALUE_{number}": value for number, value in enumerate([*texts, *dollars])}
    objects = built(written(cluster_of({"web": {**WEB, "environment": values}}), tmp_path))
    web = next(each for each in objects if each["metadata"]["name"] == "celery-web" and each["kind"] == "Deployment")
    env = {each["name"]: each.get("value") for each in web["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert {name: expanded(str(env[name]), {"FLEET_POD": "web-0", "HOME": "/"}) for name in values} == values


def test_a_revision_is_another_with_the_pod_or_the_image(tmp_path: Path) -> None:
    def revision(folder: str, **more: Any) -> str:
        objects = built(written(cluster_of(**more), tmp_path / folder))
        web = next(each for each in objects if each["metadata"]["name"] == "celery-web" and each["kind"] == "Deployment")
        env = web["spec"]["template"]["spec"]["containers"][0]["env"]
        return next(str(each["value"]) for each in env if each["name"] == "FLEET_REVISION")

    same = revision("a")
    assert revision("b") == same
    assert revision("c", image="registry.example.com/shop:1.3") != same
    assert revision("d", roles={**ROLES, "web": {**WEB, "time_limit": 77}}) != same


def test_no_manifest_has_a_secret() -> None:
    roles = {"web": {**WEB, "secrets": ["API_KEY"]}, "batch": BATCH}
    cluster = cluster_of(roles)
    text = "".join(bundle.files(cluster, "prod").values())
    for value in HIDDEN.values():
        assert value not in text
    env = {
        each["name"]: each for each in of_kind(cluster, "Deployment", "web")["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert env["API_KEY"]["valueFrom"] == {"secretKeyRef": {"name": "celery-web", "key": "API_KEY"}}
    named = {each["metadata"]["name"]: set(each["data"]) for each in bundle.secrets(cluster)}
    assert named.pop("fleet-exporter") == {"broker-url"}
    assert named.pop("fleet-redis") == {"users.acl"}
    assert named == {
        "celery-web": {"CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "API_KEY"},
        "celery-batch": {"CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"},
    }
    assert all(value not in repr(cluster) for value in HIDDEN.values())


@pytest.mark.parametrize(
    ("settings", "replicas", "rolling", "budget"),
    [
        ({"instances": 4}, 8, {"maxUnavailable": "25%", "maxSurge": 0}, {"minAvailable": 1}),
        (
            {"instances": 4, "max_unavailable": 3, "min_consumers": 5},
            8,
            {"maxUnavailable": 3, "maxSurge": 0},
            {"minAvailable": 5},
        ),
        (
            {"instances": 4, "max_unavailable": 5, "min_consumers": 5},
            8,
            {"maxUnavailable": 3, "maxSurge": 1},
            {"minAvailable": 5},
        ),
        ({"instances": 1, "min_consumers": 2}, 2, {"maxUnavailable": 0, "maxSurge": 1}, {"maxUnavailable": 1}),
        (
            {"instances": 1, "min_consumers": 0, "max_unavailable": 9},
            2,
            {"maxUnavailable": 2, "maxSurge": 0},
            {"maxUnavailable": 1},
        ),
        ({"kubernetes": {"scale": {"min": 1, "max": 20}}}, 1, {"maxUnavailable": 0, "maxSurge": "25%"}, {"maxUnavailable": 1}),
    ],
)
def test_how_many_pods_may_be_away(
    settings: dict[str, Any], replicas: int, rolling: dict[str, Any], budget: dict[str, Any]
) -> None:
    cluster = cluster_of({"web": {**WEB, **settings}})
    assert cluster.replicas("web") == replicas
    assert of_kind(cluster, "Deployment", "web")["spec"]["strategy"]["rollingUpdate"] == rolling
    spec = of_kind(cluster, "PodDisruptionBudget", "web")["spec"]
    assert {name: spec[name] for name in ("minAvailable", "maxUnavailable") if name in spec} == budget


def test_pods_connect_to_the_broker_and_what_the_role_names() -> None:
    roles = {"web": {**WEB, "kubernetes": {"egress": ["10.8.0.0/16:5432", "fd00::/8:443"]}}}
    spec = of_kind(cluster_of(roles), "NetworkPolicy", "web")["spec"]
    assert spec["ingress"] == [] and spec["policyTypes"] == ["Ingress", "Egress"]
    _, redis, database, other = spec["egress"]
    assert redis == {
        "to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "fleet-redis"}}}],
        "ports": [{"protocol": "TCP", "port": 6379}],
    }
    assert database == {"to": [{"ipBlock": {"cidr": "10.8.0.0/16"}}], "ports": [{"protocol": "TCP", "port": 5432}]}
    assert other["to"] == [{"ipBlock": {"cidr": "fd00::/8"}}]


def test_scaling_is_by_what_runs_and_waits_and_by_age() -> None:
    cluster = cluster_of({"web": {**SCALED["web"], "concurrency": 50}}, slo={"default": 10})
    spec = of_kind(cluster, "HorizontalPodAutoscaler", "web")["spec"]
    demand, age = (metric["external"] for metric in spec["metrics"])
    assert demand["metric"] == {"name": "fleet_role_tasks", "selector": {"matchLabels": {"role": "web"}}}
    assert demand["target"] == {"type": "AverageValue", "averageValue": "40000m"}
    assert (age["metric"]["name"], age["target"]) == ("fleet_role_age_ratio", {"type": "Value", "value": "1"})
    assert "replicas" not in of_kind(cluster, "Deployment", "web")["spec"], "to apply it again would set them back"


def test_none_at_all_needs_a_kubernetes_that_can() -> None:
    roles = {"web": {**WEB, "kubernetes": {"scale": {"min": 0, "max": 5}}}}
    with pytest.raises(ClusterError, match=r'scale.min: 0 needs Kubernetes 1.37, and this is 1.36: write 1, or "by": "keda"'):
        bundle.objects(cluster_of(roles, 36))
    assert of_kind(cluster_of(roles, 37), "HorizontalPodAutoscaler", "web")["spec"]["minReplicas"] == 0


def test_keda_never_scales_down_blindly() -> None:
    roles = {"web": {**WEB, "time_limit": 3600, "kubernetes": {"scale": {"min": 0, "max": 5, "by": "keda"}}}}
    spec = of_kind(cluster_of(roles), "ScaledObject", "web")["spec"]
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert spec["cooldownPeriod"] == 3600, "from some to none goes past every rule"
    assert all(isinstance(value, str) for trigger in spec["triggers"] for value in trigger["metadata"].values())


def test_long_tasks_are_not_evicted_by_the_autoscaler_of_nodes() -> None:
    def annotations(**settings: Any) -> Any:
        template = of_kind(cluster_of({"batch": {**BATCH, **settings}}), "Deployment", "batch")["spec"]["template"]
        return template["metadata"].get("annotations", {})

    assert annotations(time_limit=60) == {}
    assert annotations(time_limit=3600) == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


@pytest.mark.parametrize(("tls", "ports"), [(False, [6379]), (True, [6380]), ("both", [6380, 6379])])
def test_the_ports_of_a_redis_in_the_cluster(tls: Any, ports: list[int]) -> None:
    cluster = replace(cluster_of(SCALED, broker={"tls": tls}), certificate=b"certificate")
    objects = bundle.objects(cluster)
    _, stateful, service, policy, _ = objects["redis"]
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    assert [port["containerPort"] for port in container["ports"]] == ports
    assert [port["port"] for port in service["spec"]["ports"]] == ports
    assert [port["port"] for port in policy["spec"]["ingress"][0]["ports"]] == ports
    for each in objects["redis"]:
        kubernetes_validate.validate(each, "1.37", strict=True)
    exporter = next(each for each in objects["exporter"] if each["kind"] == "Deployment")
    for deployment in (of_kind(cluster, "Deployment", "web"), exporter):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        mounted = "/etc/fleet-broker" in [mount["mountPath"] for mount in container["volumeMounts"]]
        assert mounted == bool(tls), "whoever connects has the authority"
    renewed = bundle.objects(replace(cluster, certificate=b"renewed"))["redis"][1]
    assert renewed != stateful, "Redis reads its certificate as it starts"


def test_two_ways_of_scaling_are_refused() -> None:
    keda = {**BATCH, "kubernetes": {"scale": {"min": 1, "max": 5, "by": "keda"}}}
    with pytest.raises(ClusterError, match='"hpa" and "keda" would both serve external metrics'):
        bundle.objects(cluster_of({**SCALED, "batch": keda}))


@pytest.mark.parametrize("role", ["redis", "exporter", "account", "beat_", "kustomization"])
def test_a_role_does_not_take_the_place_of_what_is_the_fleet_s(role: str) -> None:
    with pytest.raises(LabelError, match=f"{role}: the fleet has something of its own with that name"):
        bundle.objects(cluster_of({role: WEB}))


def test_secrets_go_where_the_pods_are() -> None:
    assert {each["metadata"]["namespace"] for each in bundle.secrets(cluster_of())} == {"shop"}


def test_another_certificate_starts_another_exporter() -> None:
    def deployment(certificate: bytes) -> Any:
        made = bundle.objects(replace(cluster_of(SCALED), exporter_certificate=certificate))["exporter"]
        return next(each for each in made if each["kind"] == "Deployment")

    assert deployment(b"renewed") != deployment(b"before")


def with_beat(**more: Any) -> Cluster:
    """A fleet with beat."""
    cluster = cluster_of(**more)
    return replace(cluster, plan=replace(cluster.plan, fleet=replace(cluster.plan.fleet, beat_hosts=("web1",))))


def test_one_beat_whose_successor_waits_for_its_lock(tmp_path: Path) -> None:
    cluster = with_beat()
    objects = built(written(cluster, tmp_path))
    beat = next(each for each in objects if each["kind"] == "Deployment" and each["metadata"]["name"] == "celery-beat")
    assert beat["spec"]["replicas"] == 1
    assert beat["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    (container,) = beat["spec"]["template"]["spec"]["containers"]
    assert container["args"][1:4] == ["-m", "fleet_node.beat", "shop.app"]
    assert "--node=beat@$(FLEET_POD)" in container["args"]
    assert container["image"] == IMAGE
    kubernetes_validate.validate(beat, "1.37", strict=True)
    assert "celery-beat" in {each["metadata"]["name"] for each in bundle.secrets(cluster)}


def on_rabbitmq(cluster: Cluster) -> Cluster:
    """The same with a RabbitMQ that somebody else runs."""
    fleet = replace(cluster.plan.fleet, broker=External(url="amqp://10.0.0.5/shop"), broker_host=None, external_scheme="amqp")
    return replace(cluster, plan=replace(cluster.plan, fleet=fleet))


def test_without_a_lock_there_are_never_two() -> None:
    cluster = on_rabbitmq(with_beat(result_backend="none"))
    deployment, _, claim = beat.objects(cluster)
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"] == "celery-beat"


@pytest.mark.parametrize("by", ["hpa", "keda"])
def test_on_rabbitmq_nothing_scales_by_an_age_that_nobody_knows(by: str) -> None:
    """A metric that is missing would keep pods from going, for ever."""
    roles = {"web": {**WEB, "kubernetes": {"scale": {"min": 1, "max": 5, "by": by}}}}
    cluster = cluster_of(roles, slo={"default": 10})
    texts = [json.dumps(scaling.autoscaler(each, "web")) for each in (cluster, on_rabbitmq(cluster))]
    assert ["fleet_role_tasks" in text for text in texts] == [True, True]
    assert ["fleet_role_age_ratio" in text for text in texts] == [True, False]


def test_a_rabbitmq_of_the_fleets_own_is_refused_by_name() -> None:
    with pytest.raises(ClusterError, match="run RabbitMQ by its own operator"):
        cluster_of(broker={"kind": "rabbitmq"}, result_backend="none")


def test_devices() -> None:
    template = of_kind(cluster_of({"gpu": GPU}), "Deployment", "gpu")["spec"]["template"]["spec"]
    resources = template["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == 1
    assert "hostUsers" not in template


def test_the_exporter_is_told_of_queues_and_of_no_pod_by_its_name() -> None:
    cluster = cluster_of(SCALED, slo={"default": 10})
    (config,) = (each for each in bundle.objects(cluster)["exporter"] if each["kind"] == "ConfigMap")
    settings = fleet_exporter.settings.parse(json.loads(config["data"]["fleet.json"]))
    assert settings.workers == ()
    assert (settings.queues["default"].objective, settings.queues["default"].roles) == (10, ("web",))
    assert settings.external is not None


def test_without_the_own_autoscaler_nobody_else_is_asked() -> None:
    cluster = replace(cluster_of(), authority=None)
    assert "APIService" not in {each["kind"] for each in bundle.objects(cluster)["exporter"]}
