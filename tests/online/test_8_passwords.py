"""The broker's password changes on real machines, under load, by the commands that a user types."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from fleet.spec import secrets
from fleet.spec.secrets import BROKER_WORKER
from tests.online.conftest import NAME, ROOT, Lab
from tests.online.test_1_deploy import assert_all_answered

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB = "inventory/lab.py"
FILE = ROOT / ".lab" / NAME / "secrets.env"
LOG_IN = """
import os
from urllib.parse import quote, urlsplit, urlunsplit
from redis import AuthenticationError, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
url = urlsplit(os.environ["CELERY_BROKER_URL"])
place = url.netloc.rpartition("@")[2]
password = quote(PASSWORD, safe="")
other = urlunsplit(url._replace(netloc=f"worker:{password}@{place}"))
try:
    Redis.from_url(other, retry=Retry(NoBackoff(), 0)).ping()
except AuthenticationError:
    print("refused")
else:
    print("accepted")
"""


def redis_process(lab: Lab) -> str:
    return lab.ask("broker1", "systemctl show --value --property=MainPID redis-server")


def answer_to(lab: Lab, password: str) -> str:
    """What the broker says to a login with this password."""
    script = LOG_IN.replace("PASSWORD", repr(password))
    return lab.run("fleet", "connect", LAB, "--", "python", "-c", script).stdout.strip().splitlines()[-1]


def test_a_password_changes_under_load(lab: Lab) -> None:
    if BROKER_WORKER in secrets.unfinished(secrets.read(FILE)):  # a run before was cut off
        secrets.finish(FILE, BROKER_WORKER)
    done = lab.deploy()
    assert done.returncode == 0, done.stdout
    old, process = secrets.read(FILE)[BROKER_WORKER], redis_process(lab)
    with ThreadPoolExecutor() as pool:
        exercise = pool.submit(lab.exercise, 200)
        done = lab.run("fleet", "secrets", LAB, "--rotate", BROKER_WORKER)
        assert done.returncode == 0, done.stdout
        # Commands go on with the password that the broker accepts.
        load = lab.run("fleet", "load", LAB, "--json")
        assert json.loads(load.stdout[load.stdout.index("{") :])["workers"], load.stdout
        done = lab.deploy()
        assert done.returncode == 0, done.stdout
        assert "Redis accepts a new password of worker" in done.stdout
        assert_all_answered(exercise.result(), 200)
    new = secrets.read(FILE)[BROKER_WORKER]
    assert old != new
    assert [answer_to(lab, password) for password in (old, new)] == ["accepted", "accepted"]
    assert redis_process(lab) == process, "Redis was restarted"

    look = lab.run("fleet", "secrets", LAB, "--finish", BROKER_WORKER, "--dry", "--json")
    assert look.returncode == 0, look.stdout
    with ThreadPoolExecutor() as pool:
        exercise = pool.submit(lab.exercise, 200)
        done = lab.run("fleet", "secrets", LAB, "--finish", BROKER_WORKER, "-y")
        assert done.returncode == 0, done.stdout
        done = lab.deploy()
        assert done.returncode == 0, done.stdout
        assert "Redis no longer accepts a password before of worker" in done.stdout
        assert_all_answered(exercise.result(), 200)
    assert [answer_to(lab, password) for password in (old, new)] == ["refused", "accepted"]
    assert redis_process(lab) == process, "Redis was restarted"
    status = lab.run("fleet", "status", LAB)
    assert status.returncode == 0, status.stdout


def test_a_password_that_was_changed_by_hand_cuts_off_no_worker(lab: Lab) -> None:
    process = redis_process(lab)
    known = secrets.read(FILE)
    text = FILE.read_text().replace(known[BROKER_WORKER], f"{known[BROKER_WORKER]}x")
    FILE.write_text(text)
    done = lab.deploy()
    assert done.returncode == 0, done.stdout
    assert answer_to(lab, known[BROKER_WORKER]) == "refused"
    assert redis_process(lab) == process
    assert_all_answered(lab.exercise(120), 120)
