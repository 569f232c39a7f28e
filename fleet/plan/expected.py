"""What the fleet's exporter has to know of its queues, wherever it runs."""

from __future__ import annotations

from typing import Any

from fleet.plan.plan import Plan


def queues(plan: Plan) -> dict[str, dict[str, Any]]:
    """Queue → what is expected of it (`fleet_exporter.settings`)."""
    return {
        queue: {
            "consumers": number,
            "minimum": plan.min_consumers(queue),
            "objective": plan.fleet.settings.slo.get(queue),
            "roles": [role for role, places in plan.roles.items() if any(queue in place.worker.queues for place in places)],
        }
        for queue, number in plan.consumers.items()
    }
