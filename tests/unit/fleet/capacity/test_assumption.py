"""What a user assumes of tasks."""

import pytest

from fleet.capacity.assumption import check, demand_of, parse
from fleet.capacity.need import NeedError


def test_the_kinds_of_tasks_of_the_same_workers_make_one_demand() -> None:
    texts = (
        "queue=web,rate=30,time=0.1,spread=0",
        "queue=web, rate=10, time=0.5",
        "queue=low,rate=0",
        "queue=batch,rate=1,time=60",
    )
    assumptions = [parse(text) for text in texts]
    demand = demand_of(assumptions, ["web", "low"], bursts=2)
    assert demand is not None
    assert (demand.rate, demand.bursts) == (40, 2)
    assert demand.load == pytest.approx(8)
    assert demand_of(assumptions, ["mail"], bursts=1) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("queue=web,rat=3,time=1", "--assume queue=web,rat=3,time=1: rat is unknown; did you mean rate?"),
        ("rate=3,rate=4,time=1", "rate is there twice"),
        ("rate=,time=1", "rate has no value"),
        ("rate", "rate has no value"),
        ("", "a name is unknown; write e.g. queue=web,rate=40"),
        ("rate=3", "time missing; write e.g."),
        ("queue=web", "rate missing; write e.g."),
        ("rate=-3,time=1", "rate=-3 is no number from 0 on"),
        ("rate=inf,time=1", "rate=inf is no number from 0 on"),
        ("rate=fast,time=1", "rate=fast is no number from 0 on"),
    ],
)
def test_what_is_no_assumption_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(NeedError) as refused:
        parse(text)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_queue_that_nobody_consumes_or_that_is_forgotten() -> None:
    with pytest.raises(NeedError, match="no role consumes the queue wbe; did you mean web"):
        check([parse("queue=wbe,rate=1,time=1")], ["web", "low"])
    with pytest.raises(NeedError, match="of which queue"):
        check([parse("rate=1,time=1")], ["web"])
    with pytest.raises(NeedError, match=r"the same workers serve low: assume something of it, or queue=low,rate=0"):
        demand_of([parse("queue=web,rate=1,time=1")], ["low", "web"], 1)
    with pytest.raises(NeedError, match="nothing comes to web"):
        demand_of([parse("queue=web,rate=0")], ["web"], 1)
