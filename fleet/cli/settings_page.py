"""The page `docs/settings.md`, made from the settings' models and the rules of `fleet lint`.

`make docs` runs python -m fleet.cli.settings_page >docs/settings.md.
"""

from __future__ import annotations

import sys
from typing import Any

from fleet.cli.setting_cells import default, notes, type_name, unit, written
from fleet.lint import RULES
from fleet.plan import sizing
from fleet.plan.sizing import mib
from fleet.spec.alerts import Alerts
from fleet.spec.beat import Beat
from fleet.spec.broker import External, RabbitMQ, Redis
from fleet.spec.fields import Model
from fleet.spec.hooks import Hook, Hooks
from fleet.spec.monitor import Monitor
from fleet.spec.nvidia import Nvidia, Repository
from fleet.spec.pod import Pod, Scale
from fleet.spec.pools import POOLS, WORKLOADS
from fleet.spec.settings import Settings
from fleet.spec.worker import Worker

HEAD = """# Settings

You write settings in the Python files of `group_data/`, or for one host in the inventory. A host's own value overrides its
group's. This page lists each setting with its default and the reason for it, and each rule of `fleet lint`.

- [A worker role](#a-worker-role)
- [Automatic sizes](#automatic-sizes)
- [A role on Kubernetes](#a-role-on-kubernetes)
- [The broker](#the-broker)
- [Beat](#beat)
- [The monitor](#the-monitor)
- [Alerts](#alerts)
- [The whole fleet](#the-whole-fleet)
- [NVIDIA devices](#nvidia-devices)
- [The rules of `fleet lint`](#the-rules-of-fleet-lint)

A size is a number of bytes, or digits with K, M, G or T (powers of 1024), e.g. `"512M"`. A share such as `"40%"` is of the
machine's memory. A default is shown as you would write it; the words in parentheses say what `None` amounts to.

`make docs` generates this page from `fleet/spec/` and `fleet/lint/`, and a test fails if it is stale.
"""

WORKER = """## A worker role

Write a dict `<group>_worker` in `group_data/<group>.py`: every host of the group then runs these workers. Example:

```python
# group_data/web.py
web_worker = {"queues": ["default", "priority"], "workload": "io", "time_limit": 300}
```
"""

WORKLOADS_HEAD = """### Defaults by workload

`workload` picks these defaults. You can set each of them yourself.
"""

POOLS_HEAD = """### Defaults by pool

`pool` picks these defaults. You can set each of them yourself.
"""

SIZING = """## Automatic sizes

A number that is `"auto"`, or a size that is `None`, is computed from the machine's cores, memory and devices.
`fleet lint INVENTORY` shows every computed number.

- **concurrency**: with workload cpu, 1 for each core. With io, {io} for each core in prefork, and {green} in gevent, eventlet and
  threads. With gpu, and in solo, 1. If `cpu_quota` is set, only the cores that it leaves count.
- **instances**: one for each core in gevent, eventlet, threads and solo; one for each device with workload gpu; otherwise one.
- **memory_max**: the machine's memory less `machine_reserve`, and on the broker's host less the broker's `memory_max`. The
  instances share it by their expected need. An instance needs memory for the worker itself ({parents}) and for its slots.
  A slot needs `memory_per_slot`; without that setting, {slots}, or {spawned} for a spawned child.
- **max_memory_per_child**: {recycle} × memory_max / concurrency, and at least the {rss} of a child before its first task.

If the memory is too little, an automatic concurrency is lowered, and `fleet lint` says so. A concurrency that you wrote is not
lowered; it is an error.
"""

POD = """## A role on Kubernetes

Write a dict `"kubernetes"` in `<group>_worker`. [Kubernetes](kubernetes.md) says more.
"""

SCALE = """### How many pods

Write a dict `"scale"` in it.
"""

BROKER = """## The broker

Write a dict `broker` in `group_data/broker.py`.
"""

RABBITMQ = """### A RabbitMQ of the fleet's own

Write a dict `broker` with `"kind": "rabbitmq"` in `group_data/broker.py`, and one host or three in the group `broker` of the
inventory ([Brokers](brokers.md)).
"""

EXTERNAL = """### A broker that somebody else runs

Write a dict `broker` with its `url` in `group_data/all.py`, and leave the group `broker` out of the inventory
([Brokers](brokers.md)).
"""

BEAT = """## Beat

Write a dict `beat` in `group_data/beat.py`, and hosts in the group `beat` of the inventory. [Beat](beat.md) says more.
"""

MONITOR = """## The monitor

Write a dict `monitor` in `group_data/monitor.py`, and a host in the group `monitor` of the inventory.
"""

ALERTS = """## Alerts

Write a dict `monitor["alerts"]`. [Monitoring](monitoring.md) lists the alerts.
"""

FLEET = """## The whole fleet

Write these names in `group_data/all.py`.
"""

HOOKS = """### Hooks

Write a dict `hooks`, with a dict for each hook. [Deploying](deploying.md#hooks) has an example.
"""

HOOK = """A hook has these fields:
"""

NVIDIA = """## NVIDIA devices

Write a dict `nvidia` in `group_data/gpu.py`, or for a host in the inventory.
"""

REPOSITORY = """### A vendor's repository

Write a dict `nvidia["repository"]`.
"""

RULES_HEAD = """## The rules of `fleet lint`

`fleet lint` and every deploy check these rules before anything is changed. An error stops a deploy; warnings and notes are only
listed. `lint_ignore` silences a rule by its name.
"""


def document() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            WORKER,
            table(Worker),
            WORKLOADS_HEAD,
            _picked(WORKLOADS, "workload"),
            POOLS_HEAD,
            _picked(POOLS, "pool"),
            SIZING.format(
                io=sizing.IO_CHILDREN_A_CORE,
                green=sizing.GREEN_SLOTS,
                parents=_sizes(sizing.PARENT),
                slots=_sizes(sizing.SLOT),
                spawned=mib(sizing.SPAWNED_SLOT),
                recycle=sizing.RECYCLE_SHARE,
                rss=mib(sizing.CHILD_RSS),
            ),
            POD,
            table(Pod),
            SCALE,
            table(Scale),
            BROKER,
            table(Redis),
            RABBITMQ,
            table(RabbitMQ),
            EXTERNAL,
            table(External),
            BEAT,
            table(Beat),
            MONITOR,
            table(Monitor),
            ALERTS,
            table(Alerts),
            FLEET,
            table(Settings),
            HOOKS,
            table(Hooks),
            HOOK,
            table(Hook),
            NVIDIA,
            table(Nvidia),
            REPOSITORY,
            table(Repository),
            RULES_HEAD,
            rules(),
        ]
    )


def table(model: type[Model]) -> str:
    """A Markdown table of a model's settings."""
    rows = [
        [
            f"`{name}`",
            type_name(field),
            unit(field),
            default(field),
            f"{field.description} {notes(field)['why']}",
            notes(field)["source"],
        ]
        for name, field in model.model_fields.items()
    ]
    return _markdown(["setting", "type", "unit", "default", "what, and why", "source"], rows)


def rules() -> str:
    """A Markdown table of the rules, sorted by name."""
    return _markdown(["rule", "level", "why"], [[f"`{name}`", rule.level, rule.about] for name, rule in sorted(RULES.items())])


def _picked(choices: dict[str, dict[str, Any]], title: str) -> str:
    rows = [
        [name, ", ".join(f"`{key}` {written(value)}" for key, value in picked.items()) or "-"] for name, picked in choices.items()
    ]
    return _markdown([title, "picks"], rows)


def _sizes(by_pool: dict[str, int]) -> str:
    return ", ".join(f"{pool} {mib(size)}" for pool, size in by_pool.items())


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in (head, ["---"] * len(head), *rows)
    )


if __name__ == "__main__":
    sys.stdout.write(document())
