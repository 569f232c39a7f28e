"""What the workers of a machine that is gone held goes back at once; what a living worker holds stays with it."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from fleet_node.app.retire import counts_as_alive
from fleet_node.protocol import RETIRED_MARK, RetiredWorkers
from tests.unit.fleet_node.delivery.lease_support import begun, ended, kill, leased, send, until
from tests.unit.process_support import ROOT, Machine

LONG = 20  # seconds of a lease that ends after the test


def retire(here: Machine, release: Path, *nodes: str) -> RetiredWorkers:
    done = subprocess.run(
        [sys.executable, "-m", "fleet_node.app.retire", "jobs", *nodes],
        input="".join(f"{name}={value}\n" for name, value in here.environment.items() if name.startswith(("CELERY_", "FLEET_"))),
        env=here.environment | {"PYTHONPATH": f"{release}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: RetiredWorkers = json.loads(done.stdout.strip().removeprefix(RETIRED_MARK))
    return report


@pytest.mark.long
@pytest.mark.parametrize("prefix", ["", "p:"])
def test_a_worker_that_is_gone_gives_back_what_it_held_before_its_lease_has_ended(tmp_path: Path, prefix: str) -> None:
    """Its holdings go back after half of the lease; the other worker by itself would have waited for all of it."""
    with leased(tmp_path, lease=LONG) as here, here.client() as client, here.redis() as redis:
        options = {"broker_transport_options": {"global_keyprefix": prefix}} if prefix else {}
        client.conf.update(options)
        release = here.release("r", "".join(f"app.conf.{name} = {value!r}\n" for name, value in options.items()))
        here.start(release, 1)
        send(client, 0, 600)
        send(client, 1, 0, countdown=600)
        assert until(lambda: 0 in begun(here) and redis.hlen(f"{prefix}unacked") == 2)
        here.start(release, 2, ["other"])  # it takes nothing of this queue
        # The worker lives, and the other one's name changes nothing about that.
        alive = retire(here, release, "web-worker-1@test", "web-worker-9@test")
        assert alive["given_back"] == {} and set(alive["alive"]) == {"web-worker-1@test"}
        assert redis.hlen(f"{prefix}unacked") == 2
        kill(here, 1)
        # Nobody can know yet that it is gone.
        assert set(retire(here, release, "web-worker-1@test")["alive"]) == {"web-worker-1@test"}
        assert until(lambda: not retire(here, release, "web-worker-1@test")["alive"], LONG)
        assert redis.llen(f"{prefix}default") == 2
        mailboxes = redis.smembers(f"{prefix}_kombu.binding.celery.pidbox")
        assert [name for name in (*redis.keys("*"), *mailboxes) if b"web-worker-1@test" in name] == []
        assert any(b"web-worker-2@test" in name for name in mailboxes)
        (end,) = [score for _, score in redis.zscan_iter(f"{prefix}fleet.workers")]  # of the other worker alone
        assert end > redis.time()[0]
        assert retire(here, release, "web-worker-1@test") == {"given_back": {}, "alive": {}, "refusal": ""}
        assert "is gone" not in here.output(2)


@pytest.mark.long
def test_an_idle_worker_that_lives_is_refused_too(tmp_path: Path) -> None:
    with leased(tmp_path, lease=LONG) as here, here.client() as client:
        release = here.release("r")
        here.start(release, 1)
        report = retire(here, release, "web-worker-1@test")
        assert (report["given_back"], set(report["alive"])) == ({}, {"web-worker-1@test"})
        send(client, 0)
        assert until(lambda: ended(here) == {0}), here.output()


def test_a_worker_without_a_lease_is_refused(tmp_path: Path) -> None:
    with leased(tmp_path, lease=None) as here, here.redis() as redis:
        redis.zadd("fleet.workers", {"w@h|boot|1|2|token": math.inf})
        assert retire(here, here.release("r"), "w@h")["alive"] == {"w@h": None}


@pytest.mark.parametrize(
    ("ends", "said", "lease", "alive"),
    [
        (1060, 1000, 60, True),  # said so just now
        (1031, 971, 60, True),  # 29 s ago
        (1029, 969, 60, False),  # 31 s ago
        (1029, 969, 3600, False),  # its own lease counts, and not what the settings have by now
        (1599, 999, 60, True),
        (999, 939, 60, False),  # its lease has ended
        (1031, None, 60, True),  # idle: it renews its lease every 30 s
        (1029, None, 60, True),  # … and may be late
        (1027, None, 60, False),
        (math.inf, None, 0, True),
        (math.inf, 900, 0, True),
    ],
)
def test_who_counts_as_alive(ends: float, said: float | None, lease: float, alive: bool) -> None:
    assert (counts_as_alive(ends, said, lease, 1000) > 0) == alive
