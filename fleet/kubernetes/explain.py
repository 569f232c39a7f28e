"""What each line of a worker's unit is in its pod, and what has no counterpart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """directives: of the unit. pod: what says the same, or who does it. same: "yes", "about" or "no". note: the difference."""

    directives: tuple[str, ...]
    pod: str
    same: str = "yes"
    note: str = ""


ROWS = (
    Row(
        ("ExecStart", "WorkingDirectory"),
        "args, workingDir",
        note="the host in the node's name is the pod's; command removes what a container before has left in /run/fleet",
    ),
    Row(("Environment", "EnvironmentFile"), "env; what is secret by secretKeyRef"),
    Row(("User", "Group"), "runAsUser, runAsGroup, runAsNonRoot", note="10001, the image's"),
    Row(("ExecStop",), "lifecycle.preStop"),
    Row(
        ("TimeoutStopSec",),
        "terminationGracePeriodSeconds",
        "about",
        "systemd gives a stop more time while tasks get on; here it is the longest from the start",
    ),
    Row(("KillMode",), "the kubelet's own: SIGTERM to the first process alone"),
    Row(
        ("TimeoutStartSec", "Type", "NotifyAccess"),
        "startupProbe, with a grace of its own",
        note="by a file that the worker writes where it would tell systemd",
    ),
    Row(("WatchdogSec",), "livenessProbe", "about", "noticed at most three probes later"),
    Row(
        ("TimeoutAbortSec",),
        "livenessProbe.terminationGracePeriodSeconds",
        "about",
        "SIGTERM, not SIGABRT: the log has no stacks",
    ),
    Row(
        ("Restart", "RestartSec", "StartLimitIntervalSec"),
        "restartPolicy (Always)",
        "about",
        "after 10 s, doubling to 300 s, and not after 2 s",
    ),
    Row(("MemoryMax",), "resources.limits.memory"),
    Row(("MemoryHigh",), "", "no", "the kubelet's MemoryQoS, if it is on"),
    Row(
        ("OOMPolicy",),
        "",
        "no",
        "the kubelet ends the whole pod with one process, unless its singleProcessOOMKill is true",
    ),
    Row(("CPUWeight",), "resources.requests.cpu", "about", "its weight is that of the request: kubernetes.cpu"),
    Row(("CPUQuota",), "resources.limits.cpu"),
    Row(
        ("LimitNOFILE", "LimitCORE", "UMask"), "", "yes", "set by the worker itself as it starts; files as far as the node allows"
    ),
    Row(("LimitMEMLOCK",), "", "no", "the container runtime's; a GPU's pinned memory needs it raised there"),
    Row(
        ("DeviceAllow", "DevicePolicy", "PrivateDevices"),
        "resources.limits nvidia.com/gpu, if the role has one; no other device",
    ),
    Row(("NoNewPrivileges",), "allowPrivilegeEscalation: false"),
    Row(("CapabilityBoundingSet",), "capabilities.drop: [ALL]"),
    Row(("PrivateUsers",), "hostUsers: false"),
    Row(
        ("ProtectSystem", "ReadWritePaths", "PrivateTmp", "PrivateMounts", "RuntimeDirectory", "RuntimeDirectoryPreserve"),
        "readOnlyRootFilesystem, and an emptyDir each for /tmp, the role's folder and /run/fleet",
        note="gone with the pod",
    ),
    Row(
        (
            "ProtectHome",
            "ProtectHostname",
            "ProtectControlGroups",
            "ProtectKernelLogs",
            "ProtectKernelModules",
            "ProtectKernelTunables",
        ),
        "the container's own namespaces, and the runtime's masked paths",
    ),
    Row(("ProtectProc",), "the container's own process namespace"),
    Row(
        (
            "SystemCallFilter",
            "SystemCallArchitectures",
            "SystemCallErrorNumber",
            "RestrictNamespaces",
            "RestrictSUIDSGID",
            "RestrictRealtime",
            "LockPersonality",
            "ProtectClock",
        ),
        "seccompProfile RuntimeDefault",
        "about",
        "the runtime's list, which is longer than systemd's @system-service",
    ),
    Row(
        ("RestrictAddressFamilies",),
        "NetworkPolicy",
        "about",
        "by address and port; any family that the runtime's profile lets through",
    ),
    Row(("SyslogIdentifier",), "the pod's name and labels"),
    Row(("LogRateLimitIntervalSec", "LogRateLimitBurst"), "", "no", "the node's rotation of logs"),
    Row(
        ("Slice", "PartOf", "After", "Wants", "WantedBy", "Description"),
        "",
        "no",
        "a cluster starts and stops what a Deployment says",
    ),
    Row(("ExecStopPost",), "", "no", "the pod's status has how it ended: kubectl describe pod"),
)
