"""Which pods go first where there are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from time import sleep
from typing import Any, cast

import pytest

from fleet_exporter.costs import costs
from fleet_exporter.pods import Pods
from fleet_exporter.state import Role, Worker
from fleet_node.protocol import WorkerSign
from tests.unit.api_server_stand_in import api_server
from tests.unit.fleet_exporter.test_exporter import Exporter
from tests.unit.fleet_node.delivery.lease_support import ended, leased, send, until

DEPLOYMENTS = {"web": "celery-web"}


def worker(machine: str, running: int = 0, reserved: int = 0, eta: int = 0, role: str = "web", **more: Any) -> Worker:
    held = {"running": {"mail": running} if running else {}, "reserved": reserved, "eta": eta}
    sign = {**held, "draining": False, **more.pop("sign", {})}
    known = {"is_up": True, "sign": cast(WorkerSign, sign), **more}
    return Worker(f"{role}-worker-1@{machine}", role, machine, False, heard=1.0, **known)


@pytest.mark.parametrize(
    ("running", "reserved", "eta", "cost"),
    [(0, 0, 0, 0), (1, 0, 0, 1), (0, 1, 0, 1), (1, 1, 0, 2), (2, 1, 0, 2), (4, 0, 0, 3), (60, 4, 0, 7), (0, 0, 40, 6)],
)
def test_idle_pods_go_first_and_then_those_with_the_least(running: int, reserved: int, eta: int, cost: int) -> None:
    held = worker("celery-web-a", running, reserved, eta)
    assert costs([Role("web", 1, 100, None)], [held], DEPLOYMENTS) == {"celery-web-a": cost}


@pytest.mark.parametrize(
    ("what", "left_out"),
    [
        ("it has ended", worker("celery-web-a", is_up=False)),
        ("it has said nothing yet", replace(worker("celery-web-a"), sign=None)),
        ("it is on its way out", worker("celery-web-a", sign={"draining": True})),
        ("its role does not scale", worker("celery-batch-a", role="batch")),
        ("it is on a machine", worker("web1")),
        ("somebody else's pod is in its sign", worker("payments-a")),
    ],
)
def test_whose_cost_is_left_as_it_is(what: str, left_out: Worker) -> None:
    roles = [Role("web", 0, 4, None), Role("batch", 0, 4, None)]
    assert costs(roles, [left_out], DEPLOYMENTS) == {}, what


def test_while_all_slots_have_work_nothing_is_written() -> None:
    assert costs([Role("web", 4, 4, None)], [worker("celery-web-a", 4)], DEPLOYMENTS) == {}


def test_only_what_has_changed_is_written(tmp_path: Path) -> None:
    with api_server(tmp_path / "api") as api:
        pods = Pods(api.account, "127.0.0.1", api.port)
        api.gone.add("celery-web-gone")
        pods.write({"celery-web-a": 0, "celery-web-b": 1, "celery-web-gone": 0})
        pods.write({"celery-web-a": 0, "celery-web-b": 2, "celery-web-gone": 0})
        assert api.patches == [("celery-web-a", 0), ("celery-web-b", 1), ("celery-web-b", 2)]
        pods.write({})  # all slots have work, or the pods are gone
        pods.write({"celery-web-a": 0, "celery-web-b/../../../secrets/x": 2})
        assert api.patches[3:] == [("celery-web-a", 0)], "and no other place is written to"
        api.refuses = True
        with pytest.raises(OSError, match='celery-web-a: HTTP 403: pods is forbidden: cannot patch resource "pods"'):
            pods.write({"celery-web-a": 3})
        api.refuses = False
        with pytest.raises(OSError, match="celery-web-guarded: HTTP 403"):
            pods.write({"celery-web-guarded": 1, "celery-web-a": 4})
        assert api.costs["celery-web-a"] == 4, "one that is refused does not hold up the others"
        (api.account / "token").write_text("another")
        pods.write({"celery-web-a": 3})
        assert api.costs["celery-web-a"] == 3, "the token is read anew: the kubelet renews it"


def drip() -> Iterator[bytes]:
    """Bytes that never end, and come slowly."""
    while True:
        sleep(0.1)
        yield b" "


@pytest.mark.parametrize("answer", [lambda: repeat(b"x" * (1 << 16)), drip], ids=["fast", "slow"])
def test_an_api_server_whose_answer_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Iterable[bytes]]
) -> None:
    monkeypatch.setattr("fleet_exporter.pods.LONGEST", 1)
    with api_server(tmp_path / "api") as api:
        pods = Pods(api.account, "127.0.0.1", api.port)
        api.answer = answer
        with pytest.raises(OSError, match="does not end"):
            pods.write({"celery-web-a": 3})
        api.answer = None
        pods.write({"celery-web-a": 3})
        assert api.patches == [("celery-web-a", 3)] * 2, "it was not taken for written"


def test_an_api_server_that_speaks_no_sense(tmp_path: Path) -> None:
    with api_server(tmp_path / "api") as api:
        api.refuses, api.answer = True, lambda: iter([b"[" * 100_000])
        with pytest.raises(OSError, match=r"celery-web-a: HTTP 403: \[\["):
            Pods(api.account, "127.0.0.1", api.port).write({"celery-web-a": 5})


def test_an_api_server_that_is_away_or_somebody_else(tmp_path: Path) -> None:
    with api_server(tmp_path / "api") as api, api_server(tmp_path / "other") as other:
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            Pods(api.account, "127.0.0.1", other.port).write({"celery-web-a": 3})
        assert other.patches == []
        away = Pods(api.account, "127.0.0.1", api.port)
    with pytest.raises(OSError, match="refused"):
        away.write({"celery-web-a": 3})


@pytest.mark.long
def test_an_exporter_tells_the_busy_pod_from_the_idle(tmp_path: Path) -> None:
    with api_server(tmp_path / "api") as api, leased(tmp_path, lease=4, worker_prefetch_multiplier=1) as here:
        release = here.release("r")
        for number, here.hostname in enumerate(("celery-web-a", "celery-web-b"), 1):
            here.start(release, number)
        exporter = Exporter(here, tmp_path / "exporter", workers=[], scaled=api.scaled(web="celery-web"))
        api.refuses = True
        with here.client() as client, exporter.running(api.environment):
            complaint = "deletion costs of pods: celery-web-a: HTTP 403: pods is forbidden"
            assert until(lambda: complaint in (tmp_path / "exporter/log").read_text(), 20)
            api.refuses = False
            assert until(lambda: api.costs == {"celery-web-a": 0, "celery-web-b": 0}, 20)
            send(client, 1, 8)
            assert until(lambda: sorted(api.costs.values()) == [0, 1], 20)
            (busy,) = (pod for pod, cost in api.costs.items() if cost)
            ((_, _, _, node), *_) = here.entries("r")
            assert node.endswith(f"@{busy}")
            assert until(lambda: ended(here) == {1} and set(api.costs.values()) == {0}, 30)
            assert len(api.patches) == 4, "two at the start, one as it began, one as it ended"
