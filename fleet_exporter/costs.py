"""Which pods Kubernetes removes first where there are too many: those that run nothing. Pure.

A pod's cost of deletion is 0 if its worker holds no task, else it grows with each doubling of what it holds. A finer one would
change all the time, and each change is a write to the API server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleet_exporter.state import Role, Worker


def costs(roles: Iterable[Role], workers: Iterable[Worker], deployments: Mapping[str, str]) -> dict[str, int]:
    """Pod → its cost. deployments: role → the name of its Deployment, with which its pods' names begin.

    Of roles with work for all their slots there are none: no pod of them is too many, and none will be for minutes, since fewer
    have to be enough for so long before one goes. A pod whose worker has said nothing keeps the cost that it has.
    """
    idle = {role.name for role in roles if role.tasks < role.slots}
    by_pod = {}
    for worker in workers:
        if not (worker.is_up and worker.sign) or worker.role not in idle or worker.sign["draining"]:
            continue
        # Anyone who has the broker's password can write a sign.
        if (deployment := deployments.get(worker.role)) and worker.machine.startswith(f"{deployment}-"):
            held = sum(worker.sign["running"].values()) + worker.sign["reserved"] + worker.sign["eta"]
            by_pod[worker.machine] = int(held).bit_length()
    return by_pod
