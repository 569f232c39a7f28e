"""The chart of wait against utilisation."""

from xml.etree import ElementTree

import pytest

from fleet.capacity.chart import chart
from fleet.capacity.demand import Demand, Service
from fleet.capacity.drawing import HEIGHT
from fleet.capacity.planned import Given, planned

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.long
def test_it_shows_each_role_its_objective_and_where_it_is() -> None:
    web = planned(Given(objective=0.5), Demand(10, (Service(1, 1),)))
    batch = planned(Given(), Demand(1, (Service(1, 8, 0),)))
    root = ElementTree.fromstring(chart({"web": web, "<batch>": batch}))  # noqa: S314 - our own
    assert root.attrib["height"] == str(2 * HEIGHT)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "How long tasks of web wait, with 2 × 8 slots" in texts
    assert "How long tasks of <batch> wait, with 2 × 8 slots" in texts
    assert texts.count("objective 0.5 s") == 1
    assert "you are here: 63%" in texts
    lines = [path.attrib["d"] for path in root.iter(f"{SVG}path") if path.attrib["class"].startswith("line")]
    assert len(lines) == 6, "50, 95 and 99% of each"
    for line in lines:
        numbers = [tuple(map(float, point.split())) for point in line.removeprefix("M").split("L")]
        assert numbers == sorted(numbers, key=lambda point: point[0]), "busier to the right"
        assert [y for _, y in numbers] == sorted((y for _, y in numbers), reverse=True), "longer waits above"
