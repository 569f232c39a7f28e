"""A recording: its size, what becomes of it on a timeline, and files that are none."""

import json
import os
import stat
from pathlib import Path
from typing import Any, cast

import pytest

from fleet.observe.machine import Machine, Unit
from fleet.observe.queues import Sample, queues_of
from fleet.observe.report import recording
from fleet.observe.report.page import render
from fleet.observe.report.recording import Header, RecordingError
from fleet.observe.report.recording_file import RecordingFile
from fleet.observe.report.sample import entry_of, failed_between
from fleet.observe.report.timeline import POINTS, grid
from fleet_node.protocol import WorkerSign
from tests.unit.fleet.observe.report.report_support import BEGIN, MB, lines, write
from tests.unit.fleet_support import fleet_of, plan_of

HEADER = Header("b 127.0.0.1:6379 shop.app", 10, 60)


def sign(node: str, failed: int = 0, started_at: float = BEGIN, **more: Any) -> WorkerSign:
    task = {"task": "shop.pay", "queue": "default", "started": 9, "failed": {"ValueError": failed} if failed else {}}
    return cast(
        WorkerSign,
        {
        "node": node, "at": 0, "started_at": started_at, "release": "r", "revision": "v", "pool": "threads", "slots": 4,
        "queues": ["default"], "running": {"shop.pay": 2}, "reserved": 1, "eta": 0, "held": {"default": [2, 1, 0]},
        "draining": False, "unavailable": "", "tasks": [task], **more,
        },
    )  # fmt: skip


def test_a_recording_on_a_timeline(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines(360, silent=range(100, 120)))
    timeline = recording.read(path, 6)
    assert timeline.grid.number <= POINTS
    assert set(timeline.queues) == {"queue-0", "queue-1"}
    queue = timeline.queues["queue-0"]
    assert set(queue.age) == {3.2}
    assert set(queue.waiting) == {12}
    assert {round(value or 0, 6) for value in queue.begun} == {8.1}
    assert set(queue.failed) == {0}
    assert set(timeline.workers["web-worker-0@web1"].memory) == {500 * MB}
    assert {4, 8} <= set(timeline.roles["web"].slots) <= {4, 6, 8}
    (mark,) = timeline.marks
    assert (mark.at, mark.until, mark.text) == (BEGIN + 1000, BEGIN + 1200, "web-worker-0@web1 gave no sign of life")
    assert recording.read(path, 0.5).grid.seconds <= 1900


def test_times_without_a_recording_and_without_a_broker_are_gaps(tmp_path: Path) -> None:
    every = list(lines(120))
    away = [json.dumps({"t": BEGIN + number * 10, "away": "Connection refused"}) + "\n" for number in range(40, 50)]
    text = [*every[:41], *away, *every[51:61], '{"t":17', "\n", "[1]\n", "no JSON\n", *every[:1], *every[90:]]
    timeline = recording.read(write(tmp_path / "a.jsonl", iter(text)), 6)
    age = timeline.queues["queue-0"].age
    missing = [index * timeline.grid.step // 10 for index, value in enumerate(age) if value is None]
    assert missing[0] == 40
    assert {40, 49} <= set(missing)
    assert not {39, 50, 59, 61, 89} & set(missing)  # two intervals after a sample, it still stands
    assert {62, 88} <= set(missing)
    assert [(mark.at, mark.until) for mark in timeline.marks] == [(BEGIN + 400, BEGIN + 500)]
    assert timeline.marks[0].text == "the broker was away: Connection refused"
    assert timeline.away_s == 100


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "an empty file, and no recording of fleet record"),
        ("\n", "no recording of fleet record"),
        ("{}\n", "no recording of fleet record"),
        ("[" * 100_000, "no recording of fleet record"),
        (f'{{"fleet-recording":1,"fleet":"f","interval":{10**400},"machines_every":60}}\n', "no recording of fleet record"),
        ('{"fleet-recording":2}\n', "a recording of version 2; this celery-fleet reads version 1"),
        ('{"fleet-recording":1,"fleet":"f","interval":0,"machines_every":60}\n', "no recording of fleet record"),
        (HEADER.line() + "\n", "there is no sample in it yet"),
        (HEADER.line() + '\n{"t":NaN}\n{"t":"x"}\n', "there is no sample in it yet"),
    ],
)
def test_files_that_are_no_recordings(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(RecordingError) as refused:
        recording.read(path, 6)
    assert str(refused.value) == f"{path}: {why}"
    assert refused.value.exit_code == 2


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe"):
        with pytest.raises(RecordingError):
            recording.read(path, 6)


@pytest.mark.parametrize(
    "entry",
    [
        {"q": {"a": 1, "b": [], "c": [1e999] * 11, "d": ["x"] * 11, "e": [None] * 11, "f": [-5] * 11}},
        {"w": {"n": 3, "m": [], "o": ["x", None, {}]}, "m": {"n": 1, "o": ["x", "y", "z"]}},
        {"q": [], "w": 3, "m": "x", "f": [[1], 2, ["q", "t", "e", "many"], ["q", "t", "e", -3]]},
        {"away": {}},
        {"q": {"a": [1e308] * 11, "b": [10**400] * 11}, "w": {"n": [1e308, 1e308, -1e308]}, "m": {"n": [1e308, 1e308, 1e308]}},
        {"f": [["q", "t", "e", 1e308], ["q", "t", "e", 10**400]]},
        {"t": 1e300},
        {"t": 1e12},
    ],
)
def test_samples_of_another_shape_are_passed_over(tmp_path: Path, entry: dict[str, object]) -> None:
    text = [*lines(10), json.dumps({"t": BEGIN + 100, **entry}) + "\n", json.dumps({"t": BEGIN + 110}) + "\n"]
    timeline = recording.read(write(tmp_path / "a.jsonl", iter(text)), 6)
    assert timeline.queues["queue-0"].waiting[0] == 12
    assert render(timeline, "prod", BEGIN)


def test_a_clock_that_is_put_back(tmp_path: Path) -> None:
    """The samples since then are shown."""
    text = [HEADER.line() + "\n", json.dumps({"t": BEGIN + 1e6, "q": {"a": [5] * 11}}) + "\n", *lines(10)]
    timeline = recording.read(write(tmp_path / "a.jsonl", iter(text)), 1)
    assert next(value for value in timeline.queues["queue-0"].waiting if value is not None) == 12
    assert "a" not in timeline.queues


@pytest.mark.usefixtures("app_folder")
def test_a_day_of_a_fleet_is_below_50_mb() -> None:
    roles = {"web": {"queues": [f"queue-{number:02}" for number in range(20)], "concurrency": 8, "instances": 1}}
    plan = plan_of(fleet_of(roles, hosts_a_role=50))
    signs = {
        f"web-worker-1@web{number}": sign(f"web-worker-1@web{number}", memory=612_345_678, memory_max=817_889_280, oom_kills=0)
        for number in range(1, 51)
    }
    now = Sample(1000.5, signs, {})
    queues = queues_of(plan, Sample(990.5, signs, {}), now)
    machines = {f"web{number}": Machine(f"web{number}", plan.machines[f"web{number}"]) for number in range(1, 51)}
    plain, with_memory = (
        len(json.dumps(entry_of(BEGIN + 0.4, plan, queues, now, now, machines, asked), separators=(",", ":")))
        for asked in (None, machines)
    )
    assert with_memory > plain > 2000
    assert 8640 * (plain + (with_memory - plain) / 6) < 50 * MB


@pytest.mark.usefixtures("app_folder")
def test_a_sample_names_the_silent_and_counts_failures() -> None:
    plan = plan_of(fleet_of({"web": {"queues": ["default"], "concurrency": 4, "instances": 1}}))
    units = {"celery-web@1.service": Unit("active", memory=5, memory_max=9, oom_kills=1)}
    machines = {name: Machine(name, plan.machines[name], units=units) for name in ("web1", "web2")}
    before = Sample(0, {"web-worker-1@web1": sign("web-worker-1@web1", 2)}, {})
    now = Sample(10, {"web-worker-1@web1": sign("web-worker-1@web1", 5)}, {})
    entry = entry_of(BEGIN, plan, queues_of(plan, before, now), before, now, machines, machines)
    assert entry["w"] == {"web-worker-1@web1": [2, 4, int(BEGIN)], "web-worker-1@web2": None}
    assert entry["f"] == [["default", "shop.pay", "ValueError", 3]]
    assert entry["m"] == {"web-worker-1@web1": [5, 9, 1], "web-worker-1@web2": [5, 9, 1]}
    anew = Sample(20, {"web-worker-1@web1": sign("web-worker-1@web1", 1, BEGIN + 15)}, {})
    assert failed_between(now, anew) == [["default", "shop.pay", "ValueError", 1]], "it has counted from zero"
    unasked = Sample(30, {}, {}, problem="Redis is full")
    assert "w" not in entry_of(BEGIN, plan, [], now, unasked, {}, None), "nobody is silent who was not asked"


@pytest.mark.usefixtures("app_folder")
def test_a_worker_that_starts_anew_does_not_make_rates_negative() -> None:
    plan = plan_of(fleet_of({"web": {"queues": ["default"], "concurrency": 4, "instances": 1}}))
    nodes = [f"web-worker-1@web{number}" for number in (1, 2)]
    before = Sample(0, {node: sign(node) for node in nodes}, {})
    task = {"task": "shop.pay", "queue": "default", "started": 1}
    busy = {**task, "started": 29}
    now = Sample(10, {nodes[0]: sign(nodes[0], tasks=[busy]), nodes[1]: sign(nodes[1], 0, BEGIN + 5, tasks=[task])}, {})
    (queue,) = queues_of(plan, before, now)
    assert queue.out_s == 2.0


def test_a_file_goes_on_and_loses_its_older_half(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = RecordingFile(path, HEADER, 20_000)
    with pytest.raises(RecordingError, match="another fleet record writes to it"):
        RecordingFile(path, HEADER, 20_000)
    for number in range(400):
        first.append({"t": BEGIN + number, "away": "x" * 40})
        assert path.stat().st_size <= 20_000
    first.close()
    with path.open("a") as torn:
        torn.write('{"t":1')
    second = RecordingFile(path, HEADER, 20_000)
    second.append({"t": BEGIN + 400, "away": ""})
    second.close()
    text = path.read_text().splitlines()
    assert json.loads(text[0])["fleet-recording"] == 1
    assert text[-3] == '{"t":1'
    assert json.loads(text[-1])["t"] == BEGIN + 400
    whole = [json.loads(line)["t"] for line in text[1:-3]]
    assert whole == sorted(whole)
    assert whole[-1] == BEGIN + 399
    assert len(whole) > 100
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_ISREG(path.stat().st_mode)


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    writing = RecordingFile(path, HEADER, 20_000)
    writing.append({"t": BEGIN})
    path.rename(tmp_path / "b.jsonl")
    writing.append({"t": BEGIN + 10})
    writing.close()
    assert [json.loads(line).get("t") for line in path.read_text().splitlines()] == [None, BEGIN + 10]


@pytest.mark.parametrize(
    ("seconds", "least", "step"),
    [(60, 10, 10), (3600, 10, 15), (6 * 3600, 15, 120), (24 * 3600, 10, 300), (40 * 86400, 10, 21600)],
)
def test_a_grid_has_few_points_at_round_times(seconds: float, least: float, step: float) -> None:
    points = grid(BEGIN, BEGIN + seconds, least)
    assert (points.step, points.start % step) == (step, 0)
    assert seconds / step - 1 < points.number <= POINTS
    assert points.start <= BEGIN < points.end
