"""The look into the broker before anything changes, at the edge: in --dry as well."""

from __future__ import annotations

from pyinfra.context import host, inventory

from fleet.broker import connect
from fleet.broker.look import look
from fleet.engine.run import Run
from fleet.errors import FleetError
from fleet.rollout.preflight import judge_broker, judge_leftovers, names_in, names_of


def refuse_what_strands(run: Run) -> None:
    """Raises FleetError if the run would leave behind tasks or workers that nobody looks after. What is no error is noted."""
    run.notes.update(dict.fromkeys(judge_leftovers({name: seen.units for name, seen in run.observed.items()}, run.plan).notes))
    broker = run.fleet.broker_host
    observed = run.observed.get(broker)
    if broker.startswith("@") or (observed is not None and observed.history is None):
        return  # no machine that SSH leads to, or no run has ended there: there is no broker of ours yet
    try:
        data = inventory.get_host(broker).data.dict()  # type: ignore[no-untyped-call]
        with connect.through(data, run.fleet, run.secrets) as urls:
            view = look(urls["CELERY_BROKER_URL"])
    except FleetError as error:
        run.notes[f"the broker was not asked what waits in its queues: {error}"] = None
        return
    hostnames = names_of(run.fleet.hosts) | {machine.hostname for machine in run.observed.values()}
    abandoned, left = (names_in(host.data.get(name)) for name in ("abandon_queues", "leave_workers"))
    all_known = all(name in run.observed and run.observed[name].hostname for name in run.fleet.hosts)
    verdict = judge_broker(view, run.plan, hostnames, abandoned, left, all_known)
    if verdict.error:
        raise FleetError("nothing was changed:\n    " + verdict.error.replace("\n", "\n    "))
    run.notes.update(dict.fromkeys(verdict.notes))
