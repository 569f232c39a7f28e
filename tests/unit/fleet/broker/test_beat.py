"""What beat processes have written is read."""

import json
from pathlib import Path

from redis import Redis

from fleet.broker.beat import read
from fleet_node.protocol import BEAT_LOCK, BEAT_SIGNS
from tests.unit.shop_support import answering, free_port, process, redis_server

SINCE = "2026-01-01T00:00:00+00:00"


def test_what_nobody_of_ours_has_written_is_left_out(tmp_path: Path) -> None:
    port = free_port()
    with process(redis_server(port, tmp_path), tmp_path / "redis.log"), Redis(port=port, decode_responses=True) as redis:
        answering(port)
        seconds, _ = redis.time()
        sign = {"node": "beat@a", "leads": True, "since": SINCE, "release": "", "revision": ""}
        redis.set(f"p.{BEAT_LOCK}", "beat@a|boot|1|2|token")
        values = (json.dumps([seconds - 100, sign]), "no JSON", "[1, {}]", "[]", json.dumps(["now", sign]))
        redis.hset(f"p.{BEAT_SIGNS}", mapping={str(number): value for number, value in enumerate(values)})
        found = read(redis, "p.")
        assert found.leader == "beat@a" and list(found.signs) == ["beat@a"]
        assert found.signs["beat@a"][1] >= 100
