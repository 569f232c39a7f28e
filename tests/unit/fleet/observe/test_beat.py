"""What `fleet status` says of beat."""

from dataclasses import replace

import pytest

from fleet.broker.beat import BeatView
from fleet.observe.beat import BeatStatus, judge
from fleet.spec.fleet import Fleet
from fleet.state.observed import ObservedMachine, RunningUnit
from fleet_node.protocol import BeatSign
from tests.unit.fleet.lint.rules_support import plan

pytestmark = pytest.mark.usefixtures("app_folder")

SINCE = "2026-01-01T00:00:00+00:00"


def fleet(*hosts: str) -> Fleet:
    return replace(plan().fleet, beat_hosts=hosts)


def machine(host: str, *, active: bool = True) -> ObservedMachine:
    """A machine that calls itself otherwise than the inventory does."""
    return ObservedMachine(hostname=f"{host}.lan", units={"celery-beat.service": RunningUnit(active, True, False)})


def view(leader: str, ages: dict[str, float]) -> BeatView:
    def sign(host: str) -> BeatSign:
        return {"node": f"beat@{host}.lan", "leads": host == leader, "since": SINCE, "release": "", "revision": ""}

    signs = {f"beat@{host}.lan": (sign(host), age) for host, age in ages.items()}
    return BeatView(f"beat@{leader}.lan" if leader else "", signs)


BOTH = {"web1": machine("web1"), "web2": machine("web2")}


@pytest.mark.parametrize(
    ("machines", "said", "expected"),
    [
        (BOTH, view("web2", {"web1": 1, "web2": 3}), BeatStatus("web2", SINCE, ("web1",))),
        (
            BOTH,
            view("", {"web1": 1, "web2": 3}),
            BeatStatus(standbys=("web1", "web2"), problems=("no beat leads: nothing of the schedule is sent",)),
        ),
        (
            {**BOTH, "web1": machine("web1", active=False)},
            view("web2", {"web1": 90, "web2": 3}),
            BeatStatus("web2", SINCE, (), ("web1: celery-beat.service does not run",)),
        ),
        (
            {**BOTH, "web1": ObservedMachine(hostname="web1.lan")},
            view("web2", {"web2": 3}),
            BeatStatus("web2", SINCE, (), ("web1: celery-beat.service does not run",)),
        ),
        (
            BOTH,
            view("web2", {"web1": 90, "web2": 3}),
            BeatStatus("web2", SINCE, (), ("web1: its beat has said nothing for 90 s",)),
        ),
        (
            BOTH,
            view("old", {"web1": 1, "web2": 1, "old": 1}),
            BeatStatus("beat@old.lan", SINCE, ("web1", "web2"), ("beat@old.lan leads, and is on no host of the group beat",)),
        ),
        (BOTH, None, BeatStatus(problems=("who leads is not known: the broker does not answer",))),
    ],
)
def test_how_beat_is(machines: dict[str, ObservedMachine], said: BeatView | None, expected: BeatStatus) -> None:
    assert judge(fleet("web1", "web2"), machines, said) == expected


def test_a_fleet_without_beat_has_no_status_of_it() -> None:
    assert judge(fleet(), BOTH, BeatView()) is None
