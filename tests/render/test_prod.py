"""The example for production, all the way through pyinfra's own command, against hosts that only pretend."""

import json
from pathlib import Path

import pytest

from fleet import secrets
from tests.render.conftest import Pyinfra


def test_dry_shows_every_host_and_changes_none(pyinfra: Pyinfra) -> None:
    done = pyinfra("--dry")
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    for name in ("broker1", "web1", "web2", "web3", "batch1", "batch2", "gpu1", "gpu2"):
        assert f"[@fake/{name}.example.com]" in output
    assert "/etc/redis/redis.conf" in output
    assert "start celery-web@1.service" in output
    assert "Beginning operation run" not in output


def test_the_broker_is_up_before_any_worker_starts(pyinfra: Pyinfra) -> None:
    output = (done := pyinfra("-y")).stdout + done.stderr
    assert done.returncode == 0, output
    names = [line.split(":", 1)[1].strip() for line in output.splitlines() if line.startswith("--> Starting operation:")]
    broker, workers = names.index("Bring up the broker"), names.index("Bring up the workers")
    assert names.index("Check that the app imports") < broker < workers
    assert "Start services" in names[broker:workers]
    assert "Start services" in names[workers:]


def test_a_plan_holds_no_secret(pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra("--dry", "--json", "-vvv")
    plan = json.loads(done.stdout)
    assert plan
    values = list(secrets.read(tmp_path / "secrets.env").values())
    assert len(values) == 2
    assert not [value for value in values if value in done.stdout + done.stderr]


@pytest.mark.parametrize("flags", [("--dry",), ("-y",)])
def test_a_limit_still_sees_the_whole_fleet(pyinfra: Pyinfra, flags: tuple[str, ...]) -> None:
    done = pyinfra(*flags, "--limit", "@fake/web1.example.com")
    assert done.returncode == 0, done.stderr
    assert "[@fake/web2.example.com]" not in done.stdout + done.stderr
