"""A broker that is not the fleet's own, behind TLS: commands reach it through a machine, and check its certificate."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from fleet.spec import certificates
from tests.unit.fleet.cli.native_support import GROUP_DATA, Project, project
from tests.unit.fleet_node.delivery.lease_support import begun, until
from tests.unit.shop_support import free_port

pytestmark = pytest.mark.long

ALL = GROUP_DATA["all"] + 'broker = {"url": "@BROKER_URL", "ca_file": "ca.pem"}\n'


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Project]:
    """A fleet whose worker connects to somebody's Redis, by TLS. Its certificate is for localhost and 127.0.0.1."""
    (tmp_path / "here").mkdir()
    certificates.make(tmp_path / "tls", ["localhost", "127.0.0.1"])
    with project(tmp_path, external=True, group_data={"all": ALL}) as made:
        port = free_port()
        with made.here.redis() as redis:
            for name, file in (("ca-cert-file", "ca.pem"), ("cert-file", "broker.pem"), ("key-file", "broker.key")):
                redis.config_set(f"tls-{name}", str(tmp_path / "tls" / file))
            redis.config_set("tls-auth-clients", "no")
            redis.config_set("tls-port", port)
        shutil.copy(tmp_path / "tls" / "ca.pem", made.folder)
        give_url(made, f"rediss://worker:worker-password@localhost:{port}/0")
        checked = f"ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs={tmp_path}/tls/ca.pem"
        for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            made.here.more[name] = f"rediss://worker:worker-password@localhost:{port}/0?{checked}"
        yield made


def give_url(project: Project, url: str) -> None:
    """Write the broker's URL into the secrets file."""
    (project.folder / "s.env").write_text(f"BROKER_URL={url}\n")


def url_of(project: Project) -> str:
    return (project.folder / "s.env").read_text().strip().removeprefix("BROKER_URL=")


def logins(redis: Redis) -> list[Any]:
    """How often somebody has sent a password."""
    return [redis.info("commandstats").get(f"cmdstat_{name}", {}).get("calls") for name in ("auth", "hello")]


def test_results_in_a_redis_of_others_are_reached_through_a_machine(others: Project) -> None:
    group_data = others.folder / "group_data" / "all.py"
    group_data.write_text(f'{group_data.read_text()}result_backend = "@RESULT_URL"\n')
    url = f"redis://127.0.0.1:{others.here.port}/3"
    (others.folder / "s.env").write_text(f"BROKER_URL={url_of(others)}\nRESULT_URL={url}\n")
    script = "import os, redis; u = os.environ['CELERY_RESULT_BACKEND']; redis.Redis.from_url(u).set('x', 1); print(u)"
    done = others.fleet("connect", "prod.py", "--", sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("/3")
    assert done.stdout.strip() != url
    with others.here.redis(3) as redis:
        assert redis.get("x") == b"1"


@pytest.mark.parametrize(
    ("server", "complaint"),
    [
        ("redis://127.0.0.1:{port}/3", ""),
        ("redis://worker:wrong@127.0.0.1:{port}/3", "it refuses the user or the password: invalid username-password pair"),
        ("redis://reader:reader@127.0.0.1:{port}/3", "write is refused"),
        ("redis://127.0.0.1:1/3", "it does not answer"),
        ("rediss://localhost:{tls_port}/3", "its certificate is refused: "),
    ],
)
def test_a_redis_of_results_is_tried(others: Project, server: str, complaint: str) -> None:
    group_data = others.folder / "group_data" / "all.py"
    group_data.write_text(f'{group_data.read_text()}result_backend = "@RESULT_URL"\n')
    with others.here.redis() as redis:
        redis.execute_command("ACL", "SETUSER", "reader", "on", ">reader", "~*", "&*", "+@read", "+@connection")
    broker = url_of(others)
    port = broker.rpartition(":")[2].removesuffix("/0")
    url = server.format(port=others.here.port, tls_port=port)
    (others.folder / "s.env").write_text(f"BROKER_URL={broker}\nRESULT_URL={url}\n")
    lint = others.fleet("lint", "prod.py", "--no-app")
    assert (lint.returncode, "the results (RESULT_URL): " in lint.stdout) == ((1, True) if complaint else (0, False)), lint.stdout
    assert complaint in lint.stdout
    with others.here.redis(3) as redis:
        assert redis.keys() == []


def test_a_fleet_without_a_broker_of_its_own(others: Project) -> None:
    others.here.start(others.here.release("r"), queues=("default", "quiet"))
    others.here.announce("r")
    call = [sys.executable, "-m", "celery", "call", "fleet.drill", "--queue", "default", "--args", '["r", 1, "io", 60]']
    done = others.fleet("connect", "prod.py", "--", *call)
    assert done.returncode == 0, done.stderr
    assert until(lambda: 1 in begun(others.here)), others.here.output()
    load = others.json("load", "prod.py")
    (worker,) = load["workers"].values()
    assert (worker["state"], worker["active"], load["advice"]) == ("busy", 1, [])
    assert others.json("queues", "prod.py", "--seconds", "0")["queues"]["default"]["in_flight"]["running"] == 1
    status = others.json("status", "prod.py")
    assert (status["working"], status["broker"], status["problems"]) == (True, "answers", [])
    assert others.fleet("parked", "list", "prod.py").returncode == 0
    assert others.fleet("history", "prod.py").returncode == 0, "web1 has it"
    lint = others.fleet("lint", "prod.py", "--no-app")
    assert "the broker (BROKER_URL): it does not notify of new messages" not in lint.stdout
    assert "the broker (BROKER_URL): it has neither an append-only file nor a replica" in lint.stdout, lint.stdout + lint.stderr


def test_a_server_that_allows_less(others: Project) -> None:
    others.here.start(others.here.release("r"), queues=("default", "quiet"))
    with others.here.redis() as redis:
        redis.execute_command("ACL", "SETUSER", "worker", "-info", "-client|list", "-scan", "-config")
    (worker,) = others.json("load", "prod.py")["workers"].values()
    assert (worker["state"], worker["witnesses"]["connection"]) == ("idle", None)
    assert others.json("status", "prod.py")["working"] is True
    assert others.json("queues", "prod.py", "--seconds", "0")["queues"]["default"]["consumers"] == 1
    lint = others.fleet("lint", "prod.py", "--no-app")
    assert (lint.returncode, lint.stdout.count("is refused (")) == (0, 3), lint.stdout + lint.stderr


@pytest.mark.slow
def test_what_is_wrong_with_it_is_one_line(others: Project, tmp_path: Path) -> None:
    good = url_of(others)
    certificates.make(tmp_path / "another", ["localhost"])
    shutil.copy(tmp_path / "another" / "ca.pem", others.folder / "another.pem")
    (others.folder / "group_data" / "all.py").write_text(ALL.replace("ca.pem", "another.pem"))
    done = others.fleet("queues", "prod.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("its certificate is refused: self-signed certificate in certificate chain\n")
    (others.folder / "group_data" / "all.py").write_text(ALL)
    for url, why in (
        (good.replace("localhost", "localhost.localdomain"), "no TLS with it from web1|certificate is refused"),
        (good.replace("worker-password", "wrong"), "invalid username-password pair"),
        (good.replace("rediss://", "redis://"), "does not answer"),
        (good.replace("rediss://", "valkeys://"), "s.env: BROKER_URL valkeys:// is no scheme of Celery's"),
        (f"rediss://localhost:{free_port()}/0", "no TLS with it from web1"),
    ):
        give_url(others, url)
        done = others.fleet("queues", "prod.py")
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert any(words in done.stderr for words in why.split("|")), done.stderr
        assert "worker-password" not in done.stderr


@pytest.mark.parametrize("direct", [False, True])
def test_lint_tells_a_refused_certificate_from_a_server_that_is_away(others: Project, tmp_path: Path, direct: bool) -> None:
    (others.folder / "group_data" / "all.py").write_text(ALL.replace('"ca.pem"}', f'"ca.pem", "direct": {direct}}}'))
    assert others.fleet("lint", "prod.py", "--no-app").returncode == 0
    certificates.make(tmp_path / "tls", ["other.example.com"], renew=True)
    with others.here.redis() as redis:
        redis.config_set("tls-cert-file", str(tmp_path / "tls" / "broker.pem"))
    lint = others.fleet("lint", "prod.py", "--no-app")
    assert lint.returncode == 1, lint.stdout
    assert "its certificate is refused: Hostname mismatch, certificate is not valid for 'localhost'" in lint.stdout
    give_url(others, f"rediss://localhost:{free_port()}/0")
    away = others.fleet("lint", "prod.py", "--no-app")
    assert (away.returncode, away.stdout.count("not asked what waits in it")) == (0, 1), away.stdout


def test_nothing_is_sent_to_a_server_with_another_name(others: Project, tmp_path: Path) -> None:
    """Its authority is trusted, and the certificate is somebody else's."""
    certificates.make(tmp_path / "tls", ["other.example.com"], renew=True)
    with others.here.redis() as redis:
        redis.config_set("tls-cert-file", str(tmp_path / "tls" / "broker.pem"))
    with others.here.redis() as redis:
        before = logins(redis)
        done = others.fleet("queues", "prod.py")
        assert done.returncode == 2
        assert "Hostname mismatch, certificate is not valid for 'localhost'" in done.stderr
        assert logins(redis) == before
