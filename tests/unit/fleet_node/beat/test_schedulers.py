"""The schedulers of django-celery-beat and RedBeat behind the fleet's lock, with the real packages."""

import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import pytest

from tests.unit.fleet_node.beat.beat_support import Beats, beats
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import ROOT

pytestmark = pytest.mark.slow

DJANGO = """
from pathlib import Path
import django
from celery import Celery
from django.conf import settings

database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(__file__).parent / "db.sqlite3"), "OPTIONS": {"timeout": 20}}
settings.configure(INSTALLED_APPS=["django_celery_beat"], DATABASES={"default": database}, USE_TZ=True)
django.setup()
app = Celery("jobs")
app.conf.beat_schedule = {"second": {"task": "jobs.second", "schedule": 1.0}}
"""
HOURLY = """
from datetime import timedelta
from django.core.management import call_command
from django.utils.timezone import now
import jobs

call_command("migrate", verbosity=0)
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
PeriodicTask.objects.create(name="hourly", task="jobs.hourly", interval=every, last_run_at=now() - timedelta(hours=1, minutes=1))
"""
REDBEAT = """
from celery import Celery
app = Celery("jobs")
app.conf.beat_schedule = {"second": {"task": "jobs.second", "schedule": 1.0}}
app.conf.beat_max_loop_interval = 1
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has the packages."""
    folder = tmp_path_factory.mktemp("schedulers") / "venv"
    uv = str(ROOT / ".venv" / "bin" / "uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes", "--python", python]
    subprocess.run([*install, "-r", str(ROOT / "requirements" / "schedulers.txt")], check=True)
    return python


def too_early(here: Beats) -> list[tuple[str, str]]:
    """Runs of the entry of each second that were sent before it was due again."""
    at = [run["last_run_at"] for run in here.runs("second")]
    pairs = [(early, late) for early, late in pairwise(at)]
    return [(a, b) for a, b in pairs if (datetime.fromisoformat(b) - datetime.fromisoformat(a)).total_seconds() < 0.9]


def leaders_come_and_go(here: Beats, *options: str) -> None:
    """One is killed, one is paused for longer than its lock lasts, and one is stopped. Each time another goes on."""
    here.start("a", *options)
    here.start("b", *options)
    assert here.leader() == "a" and here.goes_on("second")
    here.end("a", SIGKILL)
    assert until(lambda: here.leader() == "b") and here.goes_on("second")
    here.start("a", *options)
    here.send("b", SIGSTOP)
    assert until(lambda: here.leader() == "a") and here.goes_on("second")
    here.send("b", SIGCONT)
    assert here.processes["b"].wait(20) == 1
    assert here.goes_on("second")
    here.end("b")
    here.start("b", *options)
    here.end("a", SIGTERM)
    assert until(lambda: here.leader() == "b") and here.goes_on("second")
    assert too_early(here) == []


def test_the_database_of_django(tmp_path: Path, python: str) -> None:
    """It has no word of a run for three minutes: what was sent decides."""
    with beats(tmp_path, DJANGO) as here:
        here.python = python
        subprocess.run([python, "-c", HOURLY], env=here.environment, cwd=tmp_path, check=True)
        leaders_come_and_go(here, "--scheduler", "django_celery_beat.schedulers:DatabaseScheduler", "--max-interval", "1")
        assert len(here.runs("hourly")) == 1


def test_redbeat(tmp_path: Path, python: str) -> None:
    """Its own lock, which a new leader would wait for, is not used."""
    with beats(tmp_path, REDBEAT) as here:
        here.python = python
        leaders_come_and_go(here, "--scheduler", "redbeat.RedBeatScheduler")
        with here.redis() as redis:
            assert not redis.exists("redbeat::lock")
