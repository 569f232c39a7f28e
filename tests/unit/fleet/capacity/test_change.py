"""`--what-if`: what the fleet would be."""

from dataclasses import replace

import pytest

from fleet.capacity.change import changed, parse
from fleet.capacity.need import NeedError
from fleet.capacity.station import station_with, stations
from fleet.plan.plan import Plan
from tests.unit.fleet_support import GB, fleet_of, plan_of

WEB = {"queues": ["web"], "workload": "io", "pool": "prefork", "min_consumers": 1}
BATCH = {"queues": ["batch"], "workload": "cpu", "min_consumers": 1}


@pytest.fixture
def plan(app_folder: None) -> Plan:
    """Two roles on two machines each, with 4 cores and 8 GB."""
    return plan_of(fleet_of({"web": WEB, "batch": BATCH}))


def test_more_machines_and_fewer_of_one_role(plan: Plan) -> None:
    web, batch = stations(plan)
    for number in (1, 2, 5):
        after = station_with(plan, web, parse(f"machines={number}", True))
        assert (after.machines, after.workers) == (number, number * web.workers // 2)
        assert after.concurrency == web.concurrency
        assert stations(changed(plan, parse(f"machines={number}", True), ["web"]))[1] == batch


def test_slots_are_set_or_follow_from_the_machine(plan: Plan) -> None:
    web, batch = stations(plan)
    assert station_with(plan, batch, parse("concurrency=3,prefetch=4", True)).slots == 6
    assert station_with(plan, batch, parse("prefetch=4", True)).prefetch == 4
    assert station_with(plan, batch, parse("cores=16,memory=64G", True)).slots == 4 * batch.slots
    assert station_with(plan, web, parse("growth=3", True)) is web
    assert station_with(plan, web, parse("memory=1G", True)).slots < web.slots, "not all fit into the memory"


def test_what_does_not_fit_is_a_problem(plan: Plan) -> None:
    (problem, _) = station_with(plan, stations(plan)[1], parse("concurrency=500", True)).problems
    assert problem.startswith("batch1: 500")


def test_a_role_beside_another_keeps_its_machine(plan: Plan) -> None:
    hosts = {
        name: replace(host, workers={**plan.fleet.hosts["batch1"].workers, **host.workers})
        for name, host in plan.fleet.hosts.items()
    }
    plan = Plan(replace(plan.fleet, hosts=hosts), plan.machines, plan.workers)
    after = changed(plan, parse("machines=1", True), ["web"])
    assert [place.host for place in after.roles["web"]] == ["web1"]
    assert len(after.roles["batch"]) == len(plan.fleet.hosts)
    assert after.machines["web1"].memory == 8 * GB


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("machine=3", "machine is unknown; did you mean machines?"),
        ("machines=0", "machines=0 is no whole number from 1 on"),
        ("machines=1e9", "machines=1e9 is no whole number from 1 on"),
        ("machines=5000", "1000 machines at most"),
        ("concurrency=2.5", "concurrency=2.5 is no whole number"),
        ("growth=0", "growth=0, and then nothing comes"),
        ("growth=-1", "growth=-1 is no number"),
        ("memory=lots", "memory=lots: "),
    ],
)
def test_what_is_no_change_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(NeedError) as refused:
        parse(text, True)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_machines_are_of_a_fleet() -> None:
    with pytest.raises(NeedError, match="machines needs an inventory"):
        parse("machines=3", False)
