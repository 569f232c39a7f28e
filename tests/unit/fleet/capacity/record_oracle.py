"""Records what Ciw, another simulator of queues, makes of some schedules. Run with a Python that has it:

python3 -m venv .venv-ciw && .venv-ciw/bin/pip install ciw==3.2.7
.venv-ciw/bin/python tests/unit/fleet/capacity/record_oracle.py >tests/unit/fleet/capacity/oracle.json
"""

import json
import sys

import ciw  # type: ignore[import-not-found]  # not among the project's requirements

TASKS = 300
STATIONS = {
    "one slot, exponential": (1, 8, ciw.dists.Exponential(10)),
    "three slots, lognormal": (3, 25, ciw.dists.Lognormal(-2.5, 0.8)),
    "eight slots, one of ten is long": (8, 68, ciw.dists.Pmf([0.05, 0.55], [0.9, 0.1])),
}


def record(slots: int, rate: float, service: object) -> dict[str, object]:
    """slots, and (arrival, service time, wait) of each task, in the order of their arrival, in seconds."""
    ciw.seed(1)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate)], service_distributions=[service], number_of_servers=[slots]
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(TASKS + 50, method="Finish")
    records = sorted((of.arrival_date, of.service_time, of.waiting_time) for of in simulation.get_all_records())
    # Those that had not ended when it stopped are not among them.
    return {"slots": slots, "tasks": [[round(value, 6) for value in task] for task in records[:TASKS]]}


json.dump({name: record(*station) for name, station in STATIONS.items()}, sys.stdout)
