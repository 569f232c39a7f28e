"""The files of `fleet k8s`, a kustomize base and an overlay for the inventory; and the Secrets that they name. Pure, but for
`secrets`, which reads certificates."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from fleet.kubernetes import beat, deployment, exporter, network, pod, redis, scaling
from fleet.kubernetes.cluster import REDIS, Cluster, ClusterError
from fleet.kubernetes.pod import CERTIFICATE_SECRET, CONTAINER, IMAGE, PART_OF, Object
from fleet.plan import process
from fleet.spec.certificates import AUTHORITIES, folder_of, paths_of, server_in_cluster
from fleet.spec.endpoint import ON_MACHINES
from fleet.spec.fleet import Fleet
from fleet.state import redis_configuration

HEAD = "# Written by `fleet k8s`: change group_data, and write it again.\n"
OF = "# Of "
OF_THE_CLUSTER = {
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
"""Kinds that are in no namespace. Kustomize does not know all of them, so that it is not left to put the others into theirs."""


def objects(cluster: Cluster) -> dict[str, list[Object]]:
    """File of the base → its objects. Raises ClusterError and LabelError."""
    if len({scale.by for scale in cluster.scales.values()}) > 1:
        raise ClusterError(
            'kubernetes.scale.by: "hpa" and "keda" would both serve external metrics, for which a cluster has one provider: '
            "write the same for all roles"
        )
    files: dict[str, list[Object]] = {"account": [deployment.ACCOUNT], "exporter": exporter.objects(cluster)}
    for role in cluster.roles:
        files[cluster.labels[role]] = [
            deployment.deployment(cluster, role),
            deployment.disruption_budget(cluster, role),
            network.policy(cluster, role),
            *([scaling.autoscaler(cluster, role)] if role in cluster.scales else []),
        ]
    for name, made in (("beat", beat.objects(cluster)), ("redis", redis.objects(cluster))):
        if made:
            files[name] = made
    return {file: [_placed(each, cluster.namespace) for each in made] for file, made in files.items()}


def _placed(each: Object, namespace: str) -> Object:
    if each["kind"] in OF_THE_CLUSTER:
        return each
    name, *more = each["metadata"].items()
    return {**each, "metadata": dict([name, ("namespace", namespace), *more])}


def files(cluster: Cluster, overlay: str, inventory: str = "") -> dict[str, str]:
    """Path below the output folder → text. overlay: its name. inventory: where its file is from there. Raises ClusterError and
    LabelError."""
    base = objects(cluster)
    made = {f"base/{file}.yaml": dump(*parts) for file, parts in base.items()}
    made["base/kustomization.yaml"] = dump(_kustomization(resources=[f"{file}.yaml" for file in base]))
    owner = f"{OF}{inventory}, in the namespace {cluster.namespace}\n" if inventory else ""
    made[f"overlays/{overlay}/kustomization.yaml"] = dump(_overlay(cluster)).replace(HEAD, HEAD + owner, 1)
    return made


def secrets(cluster: Cluster) -> Iterator[Object]:
    """The Secrets that the manifests name, with their values. Raises OSError if a certificate cannot be read."""
    values: dict[str, Mapping[str, bytes]] = {}
    for role in cluster.roles:
        host, worker = cluster.host(role), cluster.roles[role].worker
        variables = process.environment(cluster.plan, host, role, cluster.secrets)
        values[pod.name(cluster, role)] = _hidden(variables, worker.secrets)
    if of_beat := beat.environment(cluster):
        values[beat.NAME] = _hidden(of_beat, cluster.plan.fleet.beat.secrets)
    if of_redis := redis.secret_values(cluster):
        values[REDIS] = of_redis | _redis_certificates(cluster.plan.fleet, cluster.namespace)
    values[scaling.EXPORTER] = exporter.secret_values(cluster)
    if any(given := paths_of(cluster.plan.fleet)):
        # Certificate and key of our own broker are the server's.
        clients = given[: 1 if cluster.plan.fleet.own_broker else 3]
        values[CERTIFICATE_SECRET] = {
            there.name: here.read_bytes() for here, there in zip(clients, ON_MACHINES, strict=False) if here
        }
    for name, content in values.items():
        yield _secret(name, cluster.namespace, content)


def _redis_certificates(fleet: Fleet, namespace: str) -> dict[str, bytes]:
    if not fleet.redis or not fleet.redis.tls:
        return {}
    files = zip(redis_configuration.TLS_NAMES, (AUTHORITIES, *server_in_cluster(namespace)), strict=True)
    return {name: (folder_of(fleet) / file).read_bytes() for name, file in files}


def tls_secret(namespace: str, certificate: bytes, key: bytes) -> Object:
    """By which the exporter answers the API server."""
    return _secret(f"{scaling.EXPORTER}-tls", namespace, {"tls.crt": certificate, "tls.key": key}, "kubernetes.io/tls")


def dump(*parts: Object) -> str:
    """Objects as YAML documents, for people to read."""
    return HEAD + "---\n".join(yaml.dump(part, Dumper=_Dumper, sort_keys=False, width=130, allow_unicode=True) for part in parts)


class _Dumper(yaml.SafeDumper):
    """Writes each value where it belongs, and files line by line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Quoted also where PyYAML reads a text and kubectl's parser, a YAML 1.2, a number (4712e08) or a truth value (y)."""
    quoted = re.match(r"[-+]?\.?\d", text) or text.lower() in ("y", "n")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else "'" if quoted else None)


_Dumper.add_representer(str, _text)


def owners(folder: Path) -> set[str]:
    """Whose manifests are in a folder: "prod.py, in the namespace default"."""
    heads = (path.read_text(errors="replace").splitlines()[:2] for path in folder.glob("overlays/*/kustomization.yaml"))
    return {of.removeprefix(OF) for head, *more in heads for of in more if f"{head}\n" == HEAD and of.startswith(OF)}


def difference(made: Mapping[str, str], folder: Path) -> list[str]:
    """The files that would be new or others."""
    return [path for path, text in made.items() if not (folder / path).is_file() or (folder / path).read_bytes() != text.encode()]


def stale(made: Mapping[str, str], folder: Path) -> list[str]:
    """The files of the base that were written before, and are not any more."""
    return [path for path in _base(folder) if path not in made]


def dropped(made: Mapping[str, str], folder: Path) -> list[str]:
    """The commands that remove what was written before and is not any more: `kubectl apply -k` removes nothing."""
    now = {path: text for path, text in made.items() if path.startswith("base/")}
    names: dict[str, list[str]] = {}
    for kind, namespace, name in _places(_base(folder)) - _places(now):
        names.setdefault(namespace, []).append(f"{kind.lower()}/{name}")
    return [
        " ".join(["kubectl", "delete", *(["--namespace", namespace] if namespace else []), *sorted(names[namespace])])
        for namespace in sorted(names)
    ]


def _base(folder: Path) -> dict[str, str]:
    """Path → text of the files of a base that `fleet k8s` wrote."""
    texts = {str(path.relative_to(folder)): path.read_text(errors="replace") for path in folder.glob("base/*.yaml")}
    return {path: text for path, text in texts.items() if text.startswith(HEAD)}


def _places(texts: Mapping[str, str]) -> set[tuple[str, str, str]]:
    """(kind, namespace, name) of all objects of some files. Of a file that somebody has changed into no YAML there are none."""
    places = set()
    for text in texts.values():
        with suppress(yaml.YAMLError, KeyError, TypeError, AttributeError):
            for each in documents(text):
                if metadata := each.get("metadata"):
                    places.add((each["kind"], metadata.get("namespace", ""), metadata["name"]))
    return places


def _hidden(variables: Mapping[str, str], secrets: Iterable[str]) -> dict[str, bytes]:
    return {name: variables[name].encode() for name in (*pod.SECRET_NAMES, *secrets) if name in variables}


def _secret(name: str, namespace: str, values: Mapping[str, bytes], kind: str = "Opaque") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": PART_OF},
        "type": kind,
        "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
    }


def _overlay(cluster: Cluster) -> Object:
    """What is the inventory's own: the image, and how many pods."""
    name, at, digest = cluster.image.partition("@")
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    version: Object = {"digest": digest} if at else {"newTag": tag if colon else "latest"}
    redis_name, _, redis_tag = redis.NEWEST.partition(":")
    of_redis = [{"name": redis.IMAGE, "newName": redis_name, "newTag": redis_tag}] if cluster.plan.fleet.redis else []
    numbers = [
        {"name": pod.name(cluster, role), "count": cluster.replicas(role)} for role in cluster.roles if role not in cluster.scales
    ]
    return _kustomization(
        resources=["../../base"],
        images=[{"name": IMAGE, "newName": f"{head}{slash}{last}", **version}, *of_redis],
        **({"replicas": numbers} if numbers else {}),
        patches=[{"patch": yaml.dump(_identity(cluster, role), Dumper=_Dumper, sort_keys=False)} for role in cluster.roles],
    )


def _identity(cluster: Cluster, role: str) -> Object:
    """What a role's pods call the release that they run."""
    revision = pod.revision(pod.template(cluster, role), cluster.image)
    values = {"FLEET_RELEASE": pod.release(cluster.image), "FLEET_REVISION": revision}
    env = [{"name": name, "value": value} for name, value in values.items()]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": pod.name(cluster, role), "namespace": cluster.namespace},
        "spec": {"template": {"spec": {"containers": [{"name": CONTAINER, "env": env}]}}},
    }


def _kustomization(**parts: Any) -> Object:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **parts}


def documents(text: str) -> Sequence[Object]:
    """The objects of a text of YAML."""
    return [document for document in yaml.safe_load_all(text) if document]
