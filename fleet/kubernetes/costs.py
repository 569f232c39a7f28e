"""That the exporter may write what it costs to remove a pod (`fleet_exporter.costs`). Pure."""

from __future__ import annotations

from fleet.kubernetes.pod import PART_OF, Object
from fleet.kubernetes.scaling import EXPORTER

TOKEN_SECONDS = 3600
UNCHANGED = ("spec", "metadata.labels", "metadata.ownerReferences", "metadata.finalizers")
"""Of a pod, all that a patch of it may change, but for annotations."""


def objects(namespace: str, metadata: Object) -> list[Object]:
    """What its account may. metadata: of the objects that are the exporter's own. Who may patch a pod may change its image as
    well: so a policy keeps the account to annotations."""
    patch: Object = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": EXPORTER}
    policy = f"{EXPORTER}-{namespace}"
    user = f"system:serviceaccount:{namespace}:{EXPORTER}"
    pods: Object = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": patch,
            "subjects": [{"kind": "ServiceAccount", "name": EXPORTER, "namespace": namespace}],
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": policy, "labels": PART_OF},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [pods]},
                "matchConditions": [{"name": "exporter", "expression": f'request.userInfo.username == "{user}"'}],
                "validations": [
                    {
                        "expression": " && ".join(map(_same, UNCHANGED)),
                        "message": "the exporter changes annotations alone",
                    }
                ],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": policy, "labels": PART_OF},
            "spec": {
                "policyName": policy,
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
            },
        },
    ]


def _same(field: str) -> str:
    """CEL: a field is as it was, or is not there and was not."""
    new, old = f"object.{field}", f"oldObject.{field}"
    return f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"


def volume(name: str) -> Object:
    """What a pod has of its account if it is given by itself, at a place of our own."""
    sources: list[Object] = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return {"name": name, "projected": {"sources": sources}}
