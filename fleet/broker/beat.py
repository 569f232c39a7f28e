"""What beat processes say of themselves in Redis: who leads, and who stands by. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from fleet.broker import entries
from fleet_node.protocol import BEAT_LOCK, BEAT_SIGNS, BeatSign


@dataclass(frozen=True)
class BeatView:
    """leader: the node that has the lock; empty if nobody has. signs: node → (what it says of itself, seconds ago). has_lock:
    whether a broker of this kind can have one: if not, beat runs on one host, and says nothing."""

    leader: str = ""
    signs: Mapping[str, tuple[BeatSign, float]] = field(default_factory=dict)
    has_lock: bool = True


def read(client: Any, prefix: str) -> BeatView:
    """Ask Redis, with a client that decodes answers. Raises RedisError."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.get(f"{prefix}{BEAT_LOCK}")
        pipeline.hvals(f"{prefix}{BEAT_SIGNS}")
        pipeline.time()
        token, texts, (seconds, micros) = pipeline.execute()
    signs = (_sign(entries.loaded(text)) for text in texts)
    now = seconds + micros / 1e6
    return BeatView(
        leader=(token or "").rsplit("|", 4)[0],
        signs={sign["node"]: (sign, max(0.0, now - at)) for at, sign in filter(None, signs)},
    )


def _sign(value: Any) -> tuple[float, BeatSign] | None:
    """A value of protocol.BEAT_SIGNS, if it has that form."""
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], int | float) and isinstance(value[1], dict)):
        return None
    sign = value[1]
    if not isinstance(sign.get("leads"), bool):
        return None
    if not all(isinstance(sign.get(name), str) for name in ("node", "since", "release", "revision")):
        return None
    return float(value[0]), cast("BeatSign", sign)
