"""Two runs in one process: neither sees what the other knows."""

import atexit
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from fleet.engine import finish
from fleet.engine.run import Run
from fleet.engine.start import current
from fleet.spec import secrets
from tests.render.conftest import ROOT

PROBED = "memory\t4194304\ncores\t4\npython\t3.11\nos\tdebian 12\nend"
RUNNING = "unit\tId\tcelery-web@1.service\nunit\tLoadState\tloaded\nunit\tActiveState\tactive\nunit\tRevision\told\nunit-end\n"


@pytest.fixture(autouse=True)
def no_exits() -> Iterator[None]:
    yield
    atexit.unregister(finish.end)


def prepared(folder: Path, web: list[str], probed: str) -> Run:
    """deploy.py, prepared for a broker and these web hosts, as pyinfra prepares it: once for every host."""
    folder.mkdir()
    secrets.ensure(folder / "secrets.env")
    data: dict[str, Any] = {
        "fake_delay": 0,
        "fake_delay_jitter": 0,
        "fake_responses": {"MemTotal": probed},
        "celery_app": "shop.app",
        "app_source": str(ROOT / "examples" / "shop"),
        "secrets_file": str(folder / "secrets.env"),
    }
    worker = {"web_worker": {"queues": ["default"], "workload": "io", "instances": 1}}
    brokers = ["@fake/broker"]
    names = [f"@fake/{name}" for name in web]
    inventory = Inventory(  # type: ignore[no-untyped-call]
        ([*brokers, *names], data), broker=(brokers, {"lan_address": "10.0.0.10", "broker": {"port": 6379}}), web=(names, worker)
    )
    state = State(inventory, Config())  # type: ignore[no-untyped-call]
    with ctx_state.use(state), ctx_inventory.use(inventory), ctx_config.use(state.config):
        connect_all(state)
        state.set_stage(StateStage.Prepare)
        for host in inventory:
            with ctx_host.use(host):
                runpy.run_path(str(ROOT / "deploy.py"))
        run = current()
    assert run is not None
    return run


def test_two_runs_in_one_process_do_not_see_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    first = prepared(tmp_path / "first", ["web1"], PROBED)
    second = prepared(tmp_path / "second", ["web2", "web3"], PROBED.replace("end", f"{RUNNING}end"))
    assert first is not second
    assert set(first.observed) == {"@fake/broker", "@fake/web1"}
    assert set(second.observed) == {"@fake/broker", "@fake/web2", "@fake/web3"}
    assert first.rollout is not None
    assert second.rollout is not None
    # Nothing runs on the first one's machines, and another revision on the second one's.
    assert [str(step) for step in first.rollout.steps] == ["@fake/web1:web@1"]
    assert [str(step) for step in second.rollout.steps] == ["canary: @fake/web2:web@1", "@fake/web3:web@1"]
    assert list(first.planned) == ["@fake/web1:web@1"]
    assert list(second.planned) == ["@fake/web2:web@1", "@fake/web3:web@1"]
    assert {row[3] for row in first.rollout.results.table()} == {"not started"}
    assert {row[3] for row in second.rollout.results.table()} == {"untouched"}
    assert first.secrets != second.secrets
    second.interrupted = True
    assert not first.interrupted
