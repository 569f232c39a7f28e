"""Beats whose leader is killed, paused, stopped, or cut off from Redis: each run is sent once."""

import json
import shelve
import signal
from pathlib import Path

import pytest

from tests.unit.fleet_node.beat.beat_support import APP, beats
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.rabbitmq_support import Vhost, running_node

pytestmark = pytest.mark.long


def test_each_run_is_sent_once_whatever_happens_to_the_leader(tmp_path: Path) -> None:
    with beats(tmp_path) as here:
        here.start("a")
        here.start("b")
        assert here.leader() == "a" and here.goes_on()

        here.end("a", signal.SIGKILL)
        assert until(lambda: here.leader() == "b") and here.goes_on()

        # Paused, as a virtual machine is, for longer than its lock lasts: it comes back in the middle of its schedule.
        here.start("a")
        here.send("b", signal.SIGSTOP)
        assert until(lambda: here.leader() == "a") and here.goes_on()
        here.send("b", signal.SIGCONT)
        assert here.processes["b"].wait(20) == 1
        assert "does not lead any more" in here.output("b")
        assert here.goes_on()

        # A stop gives the lock back.
        here.end("b")
        here.start("b")
        here.end("a", signal.SIGTERM)
        assert until(lambda: here.leader() == "b") and here.goes_on("second")

        here.end("b", signal.SIGTERM)
        assert here.leader() == ""
        assert here.problems("often") == here.problems("second") == []
        assert here.runs("yearly") == []
        # An entry that can never be sent is skipped, and stops no other.
        assert here.runs("broken") == [] and here.written("broken")["total_run_count"] > 2


def test_a_run_that_waits_for_redis_is_sent_once_when_it_is_back(tmp_path: Path) -> None:
    with beats(tmp_path) as here:
        here.start("a", "--takeover", "5")
        assert here.goes_on()
        here.end_redis()
        assert until(lambda: "Message Error" in here.output("a") or "cannot be read" in here.output("a"))
        here.start_redis()
        assert here.goes_on()
        here.end_redis()
        # Longer than its lock lasts: it cannot know whether another leads.
        assert here.processes["a"].wait(20) == 1
        here.start_redis()
        here.end("a")
        here.start("a")
        assert until(lambda: here.leader() == "a") and here.goes_on("second")
        here.end("a", signal.SIGTERM)
        assert here.problems("often") == here.problems("second") == []


REFUSED = """
from celery import Celery
app = Celery("jobs")
app.conf.beat_schedule = {
    "refused": {"task": "jobs.refused", "schedule": 0.5, "options": {"queue": "refused"}},
    "often": {"task": "jobs.often", "schedule": 0.2},
}
"""


def test_an_entry_that_redis_refuses_holds_no_other_up(tmp_path: Path) -> None:
    with beats(tmp_path, REFUSED) as here:
        with here.redis() as redis:
            redis.set("refused", "no list")
        here.start("a")
        assert here.goes_on()
        with redis:
            redis.delete("refused")
            assert until(lambda: redis.llen("refused") > 0)
        here.end("a", signal.SIGTERM)
        assert here.problems("often") == []


STORE = """
from datetime import timedelta
from pathlib import Path
from celery import Celery
from celery.beat import Scheduler

app = Celery("jobs")

class Store(Scheduler):  # of a database to which runs are written after minutes
    def setup_schedule(self):
        last = self.app.now() - timedelta(hours=1, minutes=1)
        more = {"app": self.app, "last_run_at": last}
        self.data = {
            "hourly": self.Entry(name="hourly", task="jobs.hourly", schedule=timedelta(hours=1), **more),
            "often": self.Entry(name="often", task="jobs.often", schedule=timedelta(seconds=0.2), **more),
        }

    schedule = property(lambda self: self.data)

    def tick(self, *arguments, **options):
        if Path("changed").exists():
            Path("changed").unlink()
            self.setup_schedule()
            self._heap = None
        return super().tick(*arguments, **options)
"""


def test_a_store_that_lags_behind_has_no_run_sent_again(tmp_path: Path) -> None:
    with beats(tmp_path, STORE) as here:
        here.start("a", "--scheduler", "jobs:Store")
        assert here.goes_on() and len(here.runs("hourly")) == 1
        here.end("a", signal.SIGKILL)
        here.start("b", "--scheduler", "jobs:Store")
        assert until(lambda: here.leader() == "b") and here.goes_on()
        (tmp_path / "changed").touch()
        assert until(lambda: not (tmp_path / "changed").exists()) and here.goes_on()
        assert len(here.runs("hourly")) == 1


def test_a_leader_of_this_machine_that_is_dead_is_not_waited_for(tmp_path: Path) -> None:
    """And what it tells systemd."""
    with beats(tmp_path) as here, here.systemd() as told:
        here.start("a", "--takeover", "600")
        assert until(lambda: any(line.startswith("READY=1\nSTATUS=leader since 20") for line in told()))
        here.start("b", "--takeover", "600")
        assert until(lambda: "READY=1\nSTATUS=standby, beat@a leads" in told())
        assert until(lambda: "WATCHDOG=1\nSTATUS=standby, beat@a leads" in told())
        assert until(lambda: any(line.startswith("WATCHDOG=1\nSTATUS=leader since") for line in told()))
        here.end("b", signal.SIGTERM)
        here.end("a")
        here.start("a", "--takeover", "600")
        assert until(lambda: "beat: leads" in here.output("a"))


def test_without_redis_celerys_own_file_keeps_the_runs(tmp_path: Path, vhost: Vhost) -> None:
    with beats(tmp_path) as here:
        here.broker = vhost.url
        for number in (1, 2):
            here.start("a", "--schedule", str(tmp_path / "schedule"))
            assert until(lambda: "Sending due task second" in here.output("a"))
            here.end("a", signal.SIGTERM)
            with shelve.open(str(tmp_path / "schedule")) as kept:  # noqa: S301 - this beat's own
                assert kept["entries"]["second"].total_run_count >= number
        assert until(lambda: vhost.queues()["celery"].get("messages", 0) >= 2)


@pytest.mark.slow
def test_a_full_rabbitmq_is_waited_for(tmp_path: Path) -> None:
    """Were beat killed for it, its successor would send the run again."""
    hurried = "import fleet_node.beat.pulse\nfleet_node.beat.pulse.HUNG = fleet_node.beat.pulse.EVERY = 0.5\n"
    with (
        running_node(tmp_path / "node") as node,
        beats(tmp_path, hurried + APP) as here,
        here.systemd() as told,
        node.vhost() as vhost,
    ):
        here.broker = vhost.url
        here.more["FLEET_CELERY"] = json.dumps({"broker_transport_options": {"confirm_publish": True}})
        node.control("set_vm_memory_high_watermark", "absolute", "1MB")
        here.start("a", "--schedule", str(tmp_path / "schedule"))
        waits = "WATCHDOG=1\nSTATUS=RabbitMQ has no room, and takes nothing until it has"
        assert until(lambda: told().count(waits) > 2), told()
        node.control("set_vm_memory_high_watermark", "absolute", "1GB")
        assert until(lambda: here.output("a").count("Sending due task") > 5)
        here.end("a", signal.SIGTERM)
