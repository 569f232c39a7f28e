"""The example for production, all the way through pyinfra's own command, against hosts that only pretend."""

import json
import re
from pathlib import Path

import pytest

from fleet.spec import secrets
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
    assert json.loads(done.stdout)
    done_in_detail = pyinfra("--dry", "-vvv", "--diff", "--debug-operations", "--debug-facts")
    assert "characters, hidden>" in done_in_detail.stdout + done_in_detail.stderr
    output = done.stdout + done.stderr + done_in_detail.stdout + done_in_detail.stderr
    values = list(secrets.read(tmp_path / "secrets.env").values())
    assert len(values) == len(secrets.GENERATED)
    assert not [value for value in values if value in output]
    # Nor inside an archive: what looks like base64 is a digest or an identifier, and short.
    assert max(map(len, re.findall(r"[A-Za-z0-9+/]{60,}={0,2}", output)), default=0) < 200


@pytest.mark.parametrize("flags", [("--dry",), ("-y",)])
def test_a_limit_still_sees_the_whole_fleet(pyinfra: Pyinfra, flags: tuple[str, ...]) -> None:
    done = pyinfra(*flags, "--limit", "@fake/web1.example.com")
    assert done.returncode == 0, done.stderr
    assert "[@fake/web2.example.com]" not in done.stdout + done.stderr
