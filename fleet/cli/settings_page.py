"""`docs/settings.md`, from the model and the rules: python -m fleet.cli.settings_page >docs/settings.md (make docs)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, get_args

from pydantic.fields import FieldInfo

from fleet.lint import RULES
from fleet.plan import sizing
from fleet.plan.sizing import mib
from fleet.spec.broker import Broker
from fleet.spec.fields import Model
from fleet.spec.nvidia import Nvidia, Repository
from fleet.spec.pools import POOLS, WORKLOADS
from fleet.spec.settings import Settings
from fleet.spec.worker import Worker

HEAD = """# Settings

Made from `fleet/spec/` and `fleet/lint/` by `make docs`; a test fails when it is stale.

Sizes are bytes, or digits with K, M, G or T (powers of 1024); a share such as "40%" is of the machine's memory.
"""

SIZING = """## What is sized to the machine

`auto`, and what is left out, comes from the machine's cores, memory and devices. `fleet lint INVENTORY` shows every number.

- concurrency: cpu 1 a core; io {io} a core in prefork, {green} in gevent, eventlet and threads; gpu and solo 1. Cores are those
  that `cpu_quota` leaves.
- instances: one a core in gevent, eventlet, threads and solo; one a device for gpu; else one.
- memory_max: the machine's memory, less machine_reserve (and a broker's memory_max on its host), shared by what its instances
  are expected to need: the worker itself ({parents}), and its slots times memory_per_slot (else {slots}, {spawned} for a spawned
  child).
- max_memory_per_child is {recycle} × memory_max / concurrency, and never below the {rss} that
  a child takes before its first task.
- Too little memory lowers an automatic concurrency, and says so; for one that you wrote it is an error.
"""


def document() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            "## A worker role: `<group>_worker` in `group_data/<group>.py`\n",
            table(Worker),
            "### What a workload picks\n",
            _picked(WORKLOADS),
            "### What a pool picks\n",
            _picked(POOLS),
            SIZING.format(
                io=sizing.IO_CHILDREN_A_CORE,
                green=sizing.GREEN_SLOTS,
                parents=_sizes(sizing.PARENT),
                slots=_sizes(sizing.SLOT),
                spawned=mib(sizing.SPAWNED_SLOT),
                recycle=sizing.RECYCLE_SHARE,
                rss=mib(sizing.CHILD_RSS),
            ),
            "## The broker: `broker` in `group_data/broker.py`\n",
            table(Broker),
            "## The whole fleet: names in `group_data/all.py`\n",
            table(Settings),
            "## NVIDIA devices: `nvidia` in `group_data/gpu.py`, or for a host\n",
            table(Nvidia),
            '### A vendor\'s repository: `nvidia["repository"]`\n',
            table(Repository),
            "## The rules of `fleet lint`\n",
            "An error stops a deploy; warnings and notes are listed. `lint_ignore` silences a rule by name.\n",
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
            f"{field.description} {more(field)['why']}",
            more(field)["source"],
        ]
        for name, field in model.model_fields.items()
    ]
    return _markdown(["setting", "type", "unit", "default", "what, and why", "source"], rows)


def rules() -> str:
    """A Markdown table of the rules."""
    return _markdown(["rule", "level", "why"], [[f"`{name}`", one.level, one.about] for name, one in sorted(RULES.items())])


def more(field: FieldInfo) -> dict[str, Any]:
    """What `fleet.fields.setting` took besides."""
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def unit(field: FieldInfo) -> str:
    """The unit of a setting's value, or a dash."""
    return str(more(field)["unit"] or "-")


def default(field: FieldInfo) -> str:
    """The default, as it is written in group data, or in words where it depends on other settings."""
    if field.is_required():
        return "required"
    value = field.get_default()
    return str(more(field)["shown"] or ("none" if value is None else f"`{_written(value)}`"))


def type_name(field: FieldInfo) -> str:
    """A setting's type, as a user of group data knows it."""
    for name in _validators(field.metadata):
        return name
    annotation: Any = field.annotation
    names = (
        [_type(one) for one in get_args(annotation) if one is not type(None)] if _is_union(annotation) else [_type(annotation)]
    )
    return " or ".join(dict.fromkeys(names))


def _validators(metadata: Iterable[Any]) -> list[str]:
    """What a user knows a type as whose validator takes more than its Python type does."""
    names = {"parse_size": "size", "parse_size_or_share": "size or share", "_is_concurrency": 'number, "4x" or "auto"'}
    return [names[one.func.__name__] for one in metadata if getattr(getattr(one, "func", None), "__name__", "") in names]


def _is_union(annotation: Any) -> bool:
    return type(annotation).__name__ in ("UnionType", "Union", "_UnionGenericAlias")


def _type(annotation: Any) -> str:
    if hasattr(annotation, "__metadata__"):
        known = _validators(annotation.__metadata__)
        return known[0] if known else _type(get_args(annotation)[0])
    text = str(annotation)
    if text.startswith("typing.Literal"):
        return ", ".join(map(str, get_args(annotation)))
    if getattr(annotation, "__origin__", None) is list:
        return f"list of {_type(get_args(annotation)[0])}"
    if getattr(annotation, "__origin__", None) is dict:
        return "dict"
    name: str = annotation.__name__
    return {"int": "number", "float": "number", "str": "text", "bool": "True or False"}.get(name, name)


def _written(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"')


def _picked(choices: dict[str, dict[str, Any]]) -> str:
    rows = [
        [name, ", ".join(f"`{key}` {_written(value)}" for key, value in picked.items()) or "-"]
        for name, picked in choices.items()
    ]
    return _markdown(["", "picks"], rows)


def _sizes(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {mib(size)}" for name, size in sizes.items())


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in (head, ["---"] * len(head), *rows)
    )


if __name__ == "__main__":
    sys.stdout.write(document())
