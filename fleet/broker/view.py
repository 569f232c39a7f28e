"""What the broker knows of queues and of workers that are alive, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class BrokerView:
    """Of one moment.

    waiting, held: queue → how many of its tasks wait there, and are held by workers. consumed: queues that a worker has said in
    the last hour that it consumes. workers: node → its queues; none if it did not say. whole: whether all was read.
    """

    waiting: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    consumed: tuple[str, ...] = ()
    workers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    whole: bool = True


def parse(values: Mapping[str, Any]) -> BrokerView:
    """A BrokerView of its JSON."""
    workers = {node: tuple(queues) for node, queues in values["workers"].items()}
    return BrokerView(values["waiting"], values["held"], tuple(values["consumed"]), workers, values["whole"])
