"""Redis behind TLS, a socket, Sentinel, a key prefix or an ACL: a worker connects as its app does."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from tests.unit.fleet_node.delivery.lease_support import kill, until
from tests.unit.fleet_node.patches.test_patches import BOTH
from tests.unit.process_support import Machine
from tests.unit.shop_support import answering, free_port, process, redis_server

pytestmark = pytest.mark.long

HOLD = """
import time
from redis import Redis

app.conf.broker_transport_options = {options!r}

@app.task(name="hold")
def hold(seconds):
    with Redis(port={port}, db=1) as redis:
        redis.rpush("begun", seconds)
    time.sleep(seconds)
"""
Broker = tuple[str, dict[str, Any]]
"""A URL, and the app's options of the transport."""


@contextmanager
def one_redis(folder: Path) -> Iterator[Machine]:
    """A machine whose Redis answers at a port, with TLS at the next, and at a socket."""
    port, with_tls = free_port(), free_port()
    certificate(folder)
    tls = ["--tls-port", str(with_tls), "--tls-cert-file", "redis.crt", "--tls-key-file", "redis.key", "--tls-auth-clients", "no"]
    more = ["--tls-ca-cert-file", "redis.crt", "--unixsocket", "redis.socket", "--save", ""]
    with process(redis_server(port, folder, *tls, *more), folder / "redis.log"):
        answering(port)
        here = Machine(folder, port)
        here.more = {"FLEET_CELERY": json.dumps({"lease": 60}), "TLS": str(with_tls)}
        try:
            yield here
        finally:
            here.end()


def certificate(folder: Path) -> None:
    """Make a key and a certificate for localhost, signed by itself."""
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "redis.key", "-out", "redis.crt"]
    subprocess.run([*request, *names], cwd=folder, check=True, capture_output=True)


def behind_tls(here: Machine, _: ExitStack) -> Broker:
    query = f"ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={here.root}/redis.crt"
    return f"rediss://localhost:{here.more['TLS']}/0?{query}", {}


def that_asks_for_a_certificate(here: Machine, _: ExitStack) -> Broker:
    with Redis(port=here.port) as redis:
        redis.config_set("tls-auth-clients", "yes")
    url, options = behind_tls(here, _)
    return f"{url}&ssl_check_hostname=true&ssl_certfile={here.root}/redis.crt&ssl_keyfile={here.root}/redis.key", options


def that_is_not_checked(here: Machine, _: ExitStack) -> Broker:
    """As `"ssl_cert_reqs": "none"` in broker has it."""
    return f"rediss://127.0.0.1:{here.more['TLS']}/0?ssl_cert_reqs=none&ssl_check_hostname=false", {}


def at_a_socket(here: Machine, _: ExitStack) -> Broker:
    return f"redis+socket://{here.root}/redis.socket", {}


def with_a_prefix(here: Machine, _: ExitStack) -> Broker:
    return f"redis://127.0.0.1:{here.port}/0", {"global_keyprefix": "shop:"}


def of_a_sentinel(here: Machine, stack: ExitStack) -> Broker:
    port, settings = free_port(), here.root / "sentinel.conf"
    settings.write_text(f"port {port}\nbind 127.0.0.1\ndir {here.root}\nsentinel monitor primary 127.0.0.1 {here.port} 1\n")
    stack.enter_context(process(["redis-server", str(settings), "--sentinel"], here.root / "sentinel.log"))
    answering(port)
    return f"sentinel://127.0.0.1:{port}/0", {"master_name": "primary"}


@pytest.mark.parametrize(
    "broker", [behind_tls, that_asks_for_a_certificate, that_is_not_checked, at_a_socket, with_a_prefix, of_a_sentinel]
)
def test_delivery_and_dead_letters_work(tmp_path: Path, broker: Callable[[Machine, ExitStack], Broker]) -> None:
    with one_redis(tmp_path) as here, ExitStack() as stack:
        url, options = broker(here, stack)
        here.more["CELERY_BROKER_URL"] = url
        release = here.release("r", HOLD.format(options=options, port=here.port))
        redis = stack.enter_context(Redis(port=here.port, db=1, decode_responses=True))
        parked = stack.enter_context(Redis(port=here.port))
        client = stack.enter_context(Celery(broker=url))
        client.conf.broker_transport_options = options
        here.start(release)
        client.send_task("hold", [2], queue="default", ignore_result=True)
        client.send_task("unknown", queue="default", ignore_result=True)
        assert until(lambda: redis.lrange("begun", 0, -1) == ["2"]), here.output()
        assert until(lambda: parked.hlen("fleet.parked") == 1), here.output()
        kill(here)
        here.start(release)
        assert until(lambda: redis.lrange("begun", 0, -1) == ["2", "2"]), here.output()
        assert "an earlier process of this worker is gone: " in here.output()


@BOTH
def test_the_system_does_not_vouch_for_the_broker(tmp_path: Path, more: str) -> None:
    """An authority of the system has signed its certificate, and not the one that the URL names."""
    with one_redis(tmp_path) as here:
        here.more["SSL_CERT_FILE"] = f"{tmp_path}/redis.crt"
        url = f"rediss://localhost:{here.more['TLS']}/0?ssl_cert_reqs=CERT_REQUIRED"
        here.more["CELERY_BROKER_URL"] = url
        here.start(here.release("r", more))
        (tmp_path / "other").mkdir()
        certificate(tmp_path / "other")
        here.more["CELERY_BROKER_URL"] = f"{url}&ssl_ca_certs={tmp_path}/other/redis.crt"
        if more:
            here.start(here.release("another", more))
            return
        with pytest.raises(AssertionError, match="CERTIFICATE_VERIFY_FAILED"):
            here.start(here.release("another"))


def test_a_worker_says_what_its_user_must_be_allowed(tmp_path: Path) -> None:
    """kombu cannot do without scripts either: it ends the worker."""
    with one_redis(tmp_path) as here, Redis(port=here.port) as admin:
        admin.execute_command("ACL", "SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", "-@scripting")
        here.more["CELERY_BROKER_URL"] = f"redis://shop:secret@127.0.0.1:{here.port}/0"
        with pytest.raises(AssertionError, match="NoPermissionError"):
            here.start(here.release("r"))
        assert here.output().count("allow its user +@scripting") == 1
        admin.execute_command("ACL", "SETUSER", "shop", "+@scripting")
        here.start(here.release("again"))
