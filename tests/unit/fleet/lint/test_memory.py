"""Rules about memory."""

import pytest

from fleet.lint import memory
from tests.unit.fleet.lint.rules_support import APP, Case, assert_finds, plan, rules_of

pytestmark = pytest.mark.usefixtures("app_folder")

CASES = {
    "memory-fit": Case(
        lambda: plan(batch={"memory_max": "2G", "concurrency": 8, "memory_per_slot": "400M"}),
        APP,
        "batch_worker.concurrency: 8 × 400M + 38M is more than memory_max 2048M; write at most 4",
    ),
    "memory-tight": Case(
        lambda: plan(batch={"memory_max": "500M", "memory_high": "400M"}),
        APP,
        "batch_worker.memory_max: 438M expected, above memory_high 400M",
    ),
    "memory-assumed": Case(
        lambda: plan(batch={"memory_per_slot": None}),
        APP,
        "batch_worker.memory_per_slot: not given: taken for 26M a task at once",
    ),
    "memory-lowered": Case(
        lambda: plan(batch={"memory_max": "1G", "memory_per_slot": "400M"}),
        APP,
        "batch_worker: concurrency 4 → 2: 4 × 400M + 38M is more than memory_max 1024M",
    ),
    "memory-high": Case(
        lambda: plan(batch={"memory_max": "1G", "memory_high": "2G"}),
        APP,
        "batch_worker.memory_high: 2048M is not below memory_max 1024M",
    ),
    "recycled-at-once": Case(
        lambda: plan(batch={"memory_max": "1G", "max_memory_per_child": "50M"}),
        APP,
        "batch_worker.max_memory_per_child: 50M is less than a child takes to begin with",
    ),
    "memory-machine": Case(
        lambda: plan(batch={"memory_max": "9G"}),
        APP,
        "memory_max: batch 1 × 9216M + reserve 819M: 10035M, more than the machine's 8192M",
    ),
    "memory-surge": Case(
        lambda: plan(batch={"memory_per_slot": "1G"}, hosts_a_role=1),
        APP,
        "batch_worker: a rollout has to start one more worker beside these: 4134M + 4134M expected, and there are 7373M",
    ),
    "broker-memory": Case(
        lambda: plan(broker={"maxmemory": "6G", "memory_max": "5G"}),
        APP,
        "broker.maxmemory: 6144M is not below memory_max 5120M",
    ),
    "broker-rewrite": Case(
        lambda: plan(broker={"maxmemory": "60%"}),
        APP,
        "broker.maxmemory: 2 × 4915M while the append-only file is rewritten is more than memory_max 6963M",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(memory)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])
