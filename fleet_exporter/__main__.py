"""`python3 -m fleet_exporter FILE`: metrics of the fleet on a port of this machine, for Prometheus.

The broker's URL is in $CREDENTIALS_DIRECTORY/broker-url, where systemd has put it. What was counted is kept in
$STATE_DIRECTORY, so that a restart loses nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.process_collector import ProcessCollector
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fleet_exporter import external_server, pods
from fleet_exporter import settings as spec
from fleet_exporter.collector import Collector
from fleet_exporter.costs import costs
from fleet_exporter.reading import PATIENCE, Reader, Reading
from fleet_exporter.sentinels import SCHEME, Sentinels
from fleet_exporter.totals import Totals

KEEP_EVERY = 60.0
"""Seconds between two writings of what was counted."""


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python3 -m fleet_exporter", description="Metrics of a fleet for Prometheus.")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="what a deploy wrote of the fleet, e.g. /etc/fleet-exporter/fleet.json"
    )
    given = parser.parse_args()
    try:
        settings = spec.read(given.file)
        url = (Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / "broker-url").read_text().strip()
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"{given.file}: {error!r}\n")
        return 2
    kept = Path(os.environ.get("STATE_DIRECTORY", ".")) / "counts.json"
    collector = Collector(settings, reader(url, settings), lambda now: restore(kept, now))
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    start_http_server(settings.port, addr=settings.address, registry=registry)
    if settings.external:
        external_server.start(settings.external, settings.address, collector.roles)
    if scaled := settings.scaled:
        pods.start(lambda: costs(*collector.look(), scaled.deployments), pods.of_cluster(scaled.account))
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    reported = ""
    while not ending.wait(KEEP_EVERY):
        keep(kept, collector.kept())
        if collector.problem != reported:
            reported = collector.problem
            sys.stderr.write(f"{reported or 'the broker answers again'}\n")
    keep(kept, collector.kept())
    return 0


def reader(url: str, settings: spec.Settings) -> Callable[[], Reading]:
    """What reads the broker of a URL once."""
    if not url.startswith(("amqp://", "amqps://")):
        return Reader(connected(url, settings.master_name), settings.queues).read
    from fleet_exporter.rabbitmq import RabbitReader  # py-amqp is there only if the broker is a RabbitMQ

    nodes = [worker.nodes[0] for worker in settings.workers]
    return RabbitReader(url, settings.use_ssl, settings.queues, nodes, settings.management).read


def connected(url: str, master_name: str | None) -> Redis:
    """A client of the broker; of sentinels' URLs, of the primary that they name, which is asked for at each connection."""
    options: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "surrogateescape",
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        "client_name": "fleet-exporter",
        "retry": Retry(NoBackoff(), 1),  # a connection that was cut since the last scrape; Prometheus does not wait for more
    }
    return Sentinels.of(url).client(master_name, **options) if url.startswith(SCHEME) else Redis.from_url(url, **options)


def restore(file: Path, now: float) -> Totals:
    """What was counted before; nothing if that cannot be read."""
    try:
        return Totals.of(json.loads(file.read_text()), now)
    except FileNotFoundError:
        return Totals()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        sys.stderr.write(f"{file}: counted anew: {error!r}\n")
        return Totals()


def keep(file: Path, content: Any) -> None:
    """Write it, whole or not at all."""
    if content is None:
        return
    new = file.with_suffix(".new")
    try:
        new.write_text(json.dumps(content))
        new.replace(file)
    except OSError as error:
        sys.stderr.write(f"{file}: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
