"""A deploy on a broker that somebody else runs, and that is of no use: it ends with a line that says why, and changes nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from amqp import Connection

from fleet.spec import certificates
from tests.unit.fleet.cli.native_support import GROUP_DATA, Project, project
from tests.unit.process_support import ROOT
from tests.unit.rabbitmq_support import Vhost, rabbitmq, vhost
from tests.unit.shop_support import answering, free_port, process

__all__ = ["rabbitmq", "vhost"]
pytestmark = pytest.mark.long

BROKER = {"url": "@BROKER_URL", "ca_file": "ca.pem"}


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Project]:
    """A fleet on somebody's Redis, whose authority it trusts. No deploy has been there."""
    (tmp_path / "here").mkdir()
    certificates.make(tmp_path / "tls", ["localhost"])
    with project(tmp_path, external=True) as made:
        for name in ("deploy.py", "config.py", "roles", "fleet", "fleet_node", "templates", "requirements"):
            (made.folder / name).symlink_to(ROOT / name)
        shutil.copy(tmp_path / "tls" / "ca.pem", made.folder)
        write(made)
        yield made


def write(project: Project, results: str = "broker", **broker: str) -> None:
    """Set the broker, with more settings, and where results go."""
    text = f"{GROUP_DATA['all']}broker, result_backend = {BROKER | broker}, {results!r}\n"
    (project.folder / "group_data" / "all.py").write_text(text)


def encrypt(project: Project, folder: Path, clients: str = "no") -> str:
    """Have Redis show a certificate from now on. clients: whether it asks for theirs. Returns its URL."""
    port = free_port()
    files = {"ca-cert-file": "ca.pem", "cert-file": "broker.pem", "key-file": "broker.key"}
    options = {**{name: str(folder / file) for name, file in files.items()}, "auth-clients": clients, "port": str(port)}
    with project.here.redis() as redis:
        redis.execute_command("CONFIG", "SET", *(word for name, value in options.items() for word in (f"tls-{name}", value)))
    return f"rediss://worker:worker-password@localhost:{port}/0"


def dry(project: Project, url: str, results: str = "") -> subprocess.CompletedProcess[str]:
    """What a deploy would do, whose look at the broker is that of any other. results: where they go."""
    (project.folder / "s.env").write_text(f"BROKER_URL={url}\nRESULT_URL={results}\n")
    command = [str(Path(sys.executable).parent / "pyinfra"), "prod.py", "deploy.py", "--dry"]
    return subprocess.run(
        command, cwd=project.folder, env=project.environment, capture_output=True, text=True, timeout=300, check=False
    )


def refusal(project: Project, url: str, results: str = "") -> str:
    """Why it does not begin."""
    done = dry(project, url, results)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert output.count("nothing was changed") == 1, output
    assert "Traceback" not in output and "worker-password" not in output
    assert "Take the lock" not in output, "what would be done is not even listed"
    return " ".join(output.partition("nothing was changed")[2].split())


def test_a_server_that_is_of_use_is_taken(others: Project) -> None:
    done = dry(others, f"redis://worker:worker-password@localhost:{others.here.port}/0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the broker (BROKER_URL): it has neither an append-only file nor a replica" in " ".join(
        (done.stdout + done.stderr).split()
    )


def test_who_is_not_let_in_changes_nothing(others: Project) -> None:
    port = others.here.port
    for url, why in (
        (f"redis://worker:wrong@localhost:{port}/0", "it refuses the user or the password: invalid username-password pair"),
        (f"redis://worker:worker-password@localhost:{free_port()}/0", "the broker does not answer"),
    ):
        assert why in refusal(others, url), url
    with others.here.redis() as redis:
        redis.execute_command("ACL", "SETUSER", "worker", "-@scripting", "-time")
    why = refusal(others, f"redis://worker:worker-password@localhost:{port}/0")
    for name in ("EVAL", "TIME"):
        assert f"the broker (BROKER_URL) is of no use: {name} is refused" in why


def test_results_that_nobody_could_keep_change_nothing(others: Project) -> None:
    write(others, results="@RESULT_URL")
    broker = f"redis://worker:worker-password@localhost:{others.here.port}/0"
    for results, why in (
        (broker.replace("/0", "/1"), ""),
        (broker.replace("worker-password", "wrong"), "it refuses the user or the password: invalid username-password pair"),
        (f"redis://localhost:{free_port()}/0", "it does not answer"),
        ("redis://localhost/results", "has the database results"),
    ):
        if why:
            assert f"RESULT_URL{'' if 'database' in why else '):'} {why}" in refusal(others, broker, results)
        else:
            assert dry(others, broker, results).returncode == 0


def test_a_certificate_that_nobody_should_believe_changes_nothing(others: Project, tmp_path: Path) -> None:
    url = encrypt(others, tmp_path / "tls")
    assert dry(others, url).returncode == 0
    assert "its certificate is refused: IP address mismatch" in refusal(others, url.replace("localhost", "127.0.0.1"))
    before = datetime.now(UTC) - timedelta(days=certificates.SERVER_DAYS + 2)
    certificates.make(tmp_path / "ended", ["localhost"], now=before)
    shutil.copy(tmp_path / "ended" / "ca.pem", others.folder)
    url = encrypt(others, tmp_path / "ended")
    assert "its certificate is refused: certificate has expired" in refusal(others, url)
    write(others, ssl_cert_reqs="none")
    assert dry(others, url).returncode == 0, "the user does not want it checked"


def test_a_certificate_that_ends_soon_is_named(others: Project, tmp_path: Path) -> None:
    then = datetime.now(UTC) - timedelta(days=certificates.AUTHORITY_DAYS - 20)
    certificates.make(tmp_path / "old", ["localhost"], now=then)
    shutil.copy(tmp_path / "old" / "ca.pem", others.folder)
    done = dry(others, f"redis://worker:worker-password@localhost:{others.here.port}/0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ca.pem: ends in " in done.stderr and "put its successor there, and deploy" in " ".join(done.stderr.split())


def test_a_server_that_asks_for_a_certificate(others: Project, tmp_path: Path) -> None:
    client = others.folder / "client.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=shop"]
    words += ["-keyout", "client.key", "-out", client.name]
    subprocess.run(words, cwd=others.folder, check=True, capture_output=True)
    with (tmp_path / "tls" / "ca.pem").open("a") as trusted:
        trusted.write(client.read_text())
    url = encrypt(others, tmp_path / "tls", clients="yes")
    assert "certificate required" in refusal(others, url)
    write(others, certificate_file=client.name, key_file="client.key")
    done = dry(others, url)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sentinels_that_know_the_primary_by_another_name(others: Project, tmp_path: Path) -> None:
    port, settings = free_port(), tmp_path / "sentinel.conf"
    watched = f"sentinel monitor primary 127.0.0.1 {others.here.port} 1"
    settings.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n{watched}\n")
    with process(["redis-server", str(settings), "--sentinel"], tmp_path / "sentinel.log"):
        answering(port)
        write(others, master_name="shop")
        why = refusal(others, f"sentinel://:worker-password@127.0.0.1:{port}/0")
    assert "the sentinels know no primary shop, as master_name says; they know primary" in why


def test_a_rabbitmq_that_is_of_no_use(others: Project, vhost: Vhost) -> None:
    write(others, results="none")
    assert dry(others, vhost.url).returncode == 0
    for url, why in (
        (vhost.url.replace("guest:guest", "guest:worker-password"), "it refuses the user or the password"),
        (vhost.url.replace(vhost.name, "nowhere"), "it has no such virtual host"),
    ):
        assert why in refusal(others, url), url
    with Connection(f"127.0.0.1:{vhost.node.port}", virtual_host=vhost.name) as connection:
        connection.channel().queue_declare("default", durable=True, auto_delete=False)
    vhost.policy("mirrors", "^default$", ha_mode="all")
    assert "is of no use: the queue default is there as a classic queue, mirrored or not" in refusal(others, vhost.url)
