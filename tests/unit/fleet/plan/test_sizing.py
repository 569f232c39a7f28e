"""Facts and settings give every number of every worker."""

from typing import Any

import pytest

from fleet.plan.facts import MachineFacts
from fleet.plan.sizing import (
    CHILD_RSS,
    GREEN_SLOTS,
    IO_CHILDREN_A_CORE,
    MB,
    PARENT,
    RECYCLE_SHARE,
    SLOT,
    SizedWorker,
    broker_memory_max,
    size,
    system_reserve,
)
from fleet.spec.worker import Worker

GB = 1 << 30
RESERVE = GB // 2


def sized(machine: MachineFacts, reserve: int = RESERVE, **settings: Any) -> SizedWorker:
    worker = Worker.model_validate({"queues": ["q"], **settings})
    return size({"role": worker}, machine, reserve)["role"]


BIG = MachineFacts(cores=8, memory=16 * GB, gpus=2)


@pytest.mark.parametrize(
    ("settings", "instances", "concurrency"),
    [
        ({"workload": "cpu"}, 1, 8),
        ({"workload": "io"}, 8, 100),
        ({"workload": "io", "pool": "eventlet"}, 8, 100),
        ({"workload": "io", "pool": "threads"}, 8, 100),
        ({"workload": "io", "pool": "prefork"}, 1, 32),
        ({"workload": "gpu"}, 2, 1),
        ({"workload": "gpu", "pool": "solo"}, 2, 1),
        ({"workload": "cpu", "pool": "solo"}, 8, 1),
        ({"workload": "cpu", "concurrency": "2x"}, 1, 16),
        ({"workload": "cpu", "concurrency": "0.5x"}, 1, 4),
        ({"workload": "cpu", "concurrency": 3}, 1, 3),
        ({"workload": "io", "instances": 2, "concurrency": 1000}, 2, 1000),
        # The cores that a quota leaves, rounded up.
        ({"workload": "cpu", "cpu_quota": "250%"}, 1, 3),
        ({"workload": "cpu", "cpu_quota": "50%"}, 1, 1),
        ({"workload": "cpu", "cpu_quota": "6400%"}, 1, 8),
        ({"workload": "io", "pool": "prefork", "cpu_quota": "200%"}, 1, 8),
    ],
)
def test_concurrency_and_instances(settings: dict[str, Any], instances: int, concurrency: int) -> None:
    worker = sized(BIG, **settings)
    assert (worker.instances, worker.concurrency, worker.lowered, worker.problem) == (instances, concurrency, None, None)


def test_instances_share_the_machines_memory() -> None:
    cpu = sized(MachineFacts(4, 4 * GB), workload="cpu")
    assert cpu.memory_max == 4 * GB - RESERVE
    assert cpu.memory_high is None
    assert cpu.max_memory_per_child == int(cpu.memory_max * 0.8) // 4
    io = sized(MachineFacts(4, 4 * GB), workload="io")
    assert io.instances * io.memory_max <= 4 * GB - RESERVE
    assert io.instances * io.memory_max > 4 * GB - RESERVE - 4 * MB
    assert io.max_memory_per_child is None


def test_roles_of_one_machine_share_by_what_they_need() -> None:
    workers = {
        "web": Worker.model_validate({"queues": ["a"], "workload": "io"}),
        "batch": Worker.model_validate({"queues": ["b"], "memory_per_slot": "200M"}),
        "mail": Worker.model_validate({"queues": ["c"], "memory_max": "500M"}),
    }
    by_role = size(workers, BIG, RESERVE)
    assert by_role["mail"].memory_max == 500 * MB
    assert sum(worker.instances * worker.memory_max for worker in by_role.values()) <= BIG.memory - RESERVE
    assert by_role["batch"].memory_max > by_role["web"].memory_max


def test_the_users_numbers_stay() -> None:
    worker = sized(BIG, memory_max="1G", memory_high="700M", max_memory_per_child="90M", concurrency=4)
    assert (worker.memory_max, worker.memory_high, worker.max_memory_per_child) == (GB, 700 * MB, 90 * MB)


def test_too_little_memory_lowers_an_automatic_concurrency_and_says_so() -> None:
    worker = sized(BIG, memory_per_slot="400M", memory_max="2G")
    # 8 × 400 MB do not fit in 2 GB; nor does what a child is allowed (0.8 × 2 GB / c) below 400 MB.
    assert worker.concurrency == 4
    assert worker.lowered == "concurrency 8 → 4: 8 × 400M + 38M is more than memory_max 2048M"
    assert worker.problem is None
    assert worker.expected <= worker.memory_max
    assert worker.max_memory_per_child is not None
    assert worker.max_memory_per_child >= 400 * MB


def test_too_little_memory_for_a_fixed_concurrency_is_a_problem() -> None:
    worker = sized(BIG, memory_per_slot="400M", memory_max="2G", concurrency=8)
    assert worker.concurrency == 8
    assert worker.lowered is None
    assert worker.problem == "8 × 400M + 38M is more than memory_max 2048M; write at most 4"


def test_children_that_would_be_recycled_at_once_are_too_many() -> None:
    limit = 8 * SLOT["prefork"] + PARENT["prefork"] + MB
    worker = sized(BIG, memory_max=limit)
    assert worker.concurrency == int(limit * 0.8) // CHILD_RSS
    assert worker.lowered is not None
    assert worker.max_memory_per_child is not None
    assert worker.max_memory_per_child >= CHILD_RSS


def test_a_machine_too_small_for_one_task_is_a_problem() -> None:
    worker = sized(MachineFacts(1, 600 * MB), workload="cpu", memory_per_slot="300M")
    assert (
        worker.problem
        == "1 × 300M + 38M is more than the 88M that the machine has for it; not one task fits: give it more memory"
    )


def test_a_gpu_role_without_a_device_has_no_instance() -> None:
    assert sized(MachineFacts(4, 4 * GB, 0), workload="gpu").instances == 0


def test_an_automatic_number_of_instances_gives_way_first() -> None:
    worker = sized(MachineFacts(64, GB), workload="io")
    assert worker.instances == 5
    assert worker.lowered == "instances 64 → 5: 64 × 100M is more than the machine's 512M"
    assert worker.concurrency == 100
    assert worker.problem is None


def test_several_prefork_instances_share_the_cores() -> None:
    assert sized(BIG, workload="cpu", instances=4).concurrency == 2
    assert sized(BIG, workload="cpu", instances=4, cpu_quota="300%").concurrency == 3


def test_what_the_user_fixed_has_its_need_before_what_is_automatic() -> None:
    workers = {
        "fixed": Worker.model_validate({"queues": ["a"], "concurrency": 2, "memory_per_slot": "1G"}),
        "auto": Worker.model_validate({"queues": ["b"], "memory_per_slot": "1G"}),
    }
    by_role = size(workers, MachineFacts(8, 8 * GB), RESERVE)
    assert by_role["fixed"].problem is None
    assert by_role["fixed"].concurrency == 2
    assert by_role["auto"].lowered is not None
    assert by_role["auto"].concurrency == 3
    assert sum(worker.memory_max for worker in by_role.values()) <= 8 * GB - RESERVE


def test_a_recycling_limit_of_the_users_counts() -> None:
    worker = sized(MachineFacts(8, 8 * GB), max_memory_per_child="1G")
    assert worker.concurrency == 7
    assert worker.problem is None


def test_a_recycling_limit_and_a_concurrency_of_the_users_that_do_not_fit_are_a_problem() -> None:
    worker = sized(BIG, memory_max="1G", max_memory_per_child="400M", concurrency=4)
    assert worker.problem == "4 × max_memory_per_child 400M + 38M is more than memory_max 1024M; write at most 2"


def test_solo_runs_one_at_a_time() -> None:
    assert sized(BIG, pool="solo", concurrency=8).concurrency == 1


def test_sizing_is_the_same_twice() -> None:
    assert sized(BIG, workload="io") == sized(BIG, workload="io")


@pytest.mark.parametrize(
    ("setting", "total", "reserve"),
    [(None, 64 * GB, 64 * GB * 10 // 100), (None, 1 * GB, 192 * MB), ("5%", GB, GB * 5 // 100), (512 * MB, 8 * GB, 512 * MB)],
)
def test_the_system_keeps_what_it_needs_on_a_small_machine_too(setting: int | str | None, total: int, reserve: int) -> None:
    assert system_reserve(setting, total) == reserve
    assert broker_memory_max(None, reserve, total) == min(total * 85 // 100, total - reserve)
    assert broker_memory_max("50%", reserve, total) == total // 2


def test_the_reasons_of_settings_have_the_figures_of_sizing() -> None:
    def why(name: str) -> str:
        extra = Worker.model_fields[name].json_schema_extra
        assert isinstance(extra, dict)
        return str(extra["why"])

    assert f"{IO_CHILDREN_A_CORE} a core for io in prefork, {GREEN_SLOTS} in gevent, eventlet and threads" in why("concurrency")
    assert f"divides {RECYCLE_SHARE} of memory_max" in why("max_memory_per_child")
    assert f"{SLOT['prefork'] // MB} MB a slot in prefork, {SLOT['gevent'] / MB} MB in other pools" in why("memory_per_slot")
