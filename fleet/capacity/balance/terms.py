"""What a fleet's settings allow to be moved, as a deploy writes it down for the monitor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Group:
    """Roles that share queues, and so the load on them. objective: seconds that a task may wait; None if nobody said, and then
    nothing is moved for it. nodes: of its workers. takes: groups whose tasks its workers can run. refused: of others → why not.
    spare: slots that a worker may have besides its own."""

    name: str
    queues: tuple[str, ...]
    objective: float | None
    nodes: tuple[str, ...]
    takes: tuple[str, ...] = ()
    refused: Mapping[str, str] | None = None
    spare: int = 0


Terms = Mapping[str, Group]
"""By name of the group."""


def as_plain(terms: Terms) -> list[dict[str, Any]]:
    """For a JSON file. It holds no secret."""
    return [asdict(group) for group in terms.values()]


def of_plain(content: list[dict[str, Any]]) -> dict[str, Group]:
    """Raises KeyError and TypeError if it is none of ours."""
    groups = (Group(**{**entry, **{name: tuple(entry[name]) for name in ("queues", "nodes", "takes")}}) for entry in content)
    return {group.name: group for group in groups}
