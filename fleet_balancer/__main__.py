"""`python3 -m fleet_balancer FLEET TERMS`: balance a fleet until SIGTERM.

FLEET is what a deploy wrote for the exporter, TERMS what may be moved. The broker's URL is in $CREDENTIALS_DIRECTORY/broker-url.
Moves are written to $STATE_DIRECTORY/moves.jsonl, as entries of the fleet's history. Prometheus finds what it does on a port of
this machine, and whether it is still at it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from fleet.capacity.balance import terms as spec
from fleet.capacity.balance.look import Look, look_of
from fleet.capacity.balance.policy import Balancer, Move, Order
from fleet.capacity.balance.terms import Terms
from fleet.capacity.balance.words import explain, summary
from fleet_balancer.telling import Teller
from fleet_exporter import settings as exporter
from fleet_exporter.__main__ import reader
from fleet_exporter.reading import Reading
from fleet_exporter.settings import Settings
from fleet_exporter.state import queues_of, workers_of

EVERY = 10.0
"""Seconds between two looks."""
PORT = 9809
MOST_ENTRIES = 1000
"""Moves that are kept."""


def main() -> int:
    """Go on until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python3 -m fleet_balancer", description="Move a fleet's capacity to where tasks wait.")
    parser.add_argument("fleet", type=Path, metavar="FLEET", help="what a deploy wrote of the fleet, for the exporter")
    parser.add_argument("terms", type=Path, metavar="TERMS", help="what a deploy wrote of what may be moved")
    parser.add_argument("--port", type=int, default=PORT, metavar="NUMBER", help=f"of the metrics (default: {PORT})")
    given = parser.parse_args()
    try:
        settings = exporter.read(given.fleet)
        terms = spec.of_plain(json.loads(given.terms.read_text()))
        url = (Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / "broker-url").read_text().strip()
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"{given.fleet}, {given.terms}: {error!r}\n")
        return 2
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    start_http_server(given.port, addr="127.0.0.1", registry=registry)
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    moves = Path(os.environ.get("STATE_DIRECTORY", ".")) / "moves.jsonl"
    teller = Teller(url, settings.use_ssl, settings.master_name)
    balance = Balance(terms, settings, reader(url, settings), teller, metrics, moves)
    while not ending.is_set():
        balance.go_on()
        ending.wait(EVERY)
    return 0


class Metrics:
    """What Prometheus reads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        last = "When the fleet was last looked at, in seconds since 1970."
        self.last_look = Gauge("fleet_balance_last_look_timestamp_seconds", last, registry=registry)
        self.lent = Gauge("fleet_balance_lent_workers", "Workers that are lent out to a role.", ["roles"], registry=registry)
        self.lacking = Gauge(
            "fleet_balance_lacking_slots", "Slots that a role lacks and nobody has.", ["roles"], registry=registry
        )
        self.moves = Counter("fleet_balance_moves", "Moves of capacity.", ["roles", "kind"], registry=registry)


class Balance:
    """One fleet. read: reads the broker. moves: where they are written down."""

    def __init__(
        self,
        terms: Terms,
        settings: Settings,
        read: Callable[[], Reading],
        teller: Teller,
        metrics: Metrics,
        moves: Path,
    ) -> None:
        self._terms, self._settings, self._read, self._teller = terms, settings, read, teller
        self._metrics, self._file = metrics, moves
        self._balancer = Balancer(terms)
        self._said: set[tuple[str, str]] = set()
        self._problem = self._prefix = ""

    def go_on(self) -> None:
        """One look, and what follows. A broker that does not answer is a line in the log."""
        try:
            reading = self._read()
            look = look_at(self._terms, self._settings, reading)
            made = self._balancer.decide(look)
            self._prefix = reading.prefix
            self._perform(made)
            problem = ""
        except Exception as error:  # of redis, amqp and kombu: the next look may do better
            problem = f"{type(error).__name__}: {error}"
        else:
            self._metrics.last_look.set(time.time())
            self._count(look, made)
        if problem != self._problem:
            say(problem or "the broker answers again")
            self._problem = problem

    def _perform(self, made: Iterable[Move]) -> None:
        renewed = [order for move in made if move.kind == "renew" for order in move.orders]
        self._tell(renewed)
        for move in made:
            if move.orders and move.kind != "renew":
                began, errors = time.time(), self._tell(move.orders)
                self._metrics.moves.labels(move.group, move.kind).inc()
                self._write(move, began, errors)
        for move in made:
            if move.kind != "renew" and (move.group, move.kind) not in self._said:
                say("\n".join(explain(move)))
        self._said = {(move.group, move.kind) for move in made}

    def _tell(self, orders: Iterable[Order]) -> list[str]:
        orders = list(orders)
        errors = [f"{node}: {why}" for node, why in (self._teller.tell(orders, self._prefix) if orders else {}).items()]
        for error in errors:
            say(error)
        return errors

    def _count(self, look: Look, made: Iterable[Move]) -> None:
        for name, group in self._terms.items():
            lent = sum(bool(set(worker.lent) & set(group.queues)) for worker in look.workers.values())
            self._metrics.lent.labels(name).set(lent)
            self._metrics.lacking.labels(name).set(sum(move.lacking for move in made if move.group == name))

    def _write(self, move: Move, began: float, errors: list[str]) -> None:
        entry = {
            "who": f"fleet-balance@{socket.gethostname()}",
            "pid": os.getpid(),
            "at": datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "what": summary(move),
            "outcome": "failed" if errors else "done",
            "seconds": round(time.time() - began, 1),
            "errors": errors,
            "notes": list(explain(move)),
        }
        try:
            kept = self._file.read_text().splitlines()[-(MOST_ENTRIES - 1) :] if self._file.exists() else []
            new = self._file.with_suffix(".new")
            new.write_text("".join(f"{line}\n" for line in (*kept, json.dumps(entry))))
            new.replace(self._file)
        except OSError as error:
            say(f"{self._file}: {error}")


def look_at(terms: Terms, settings: Settings, reading: Reading) -> Look:
    """What the balancer goes by, of what the exporter reads."""
    workers = workers_of(reading, settings)
    queues = {queue.name: queue for queue in queues_of(reading, settings, workers)}
    return look_of(
        terms,
        reading.now,
        [worker.sign for worker in workers if worker.is_up and worker.sign],
        {name: queue.waiting for name, queue in queues.items()},
        {name: queue.least for name, queue in queues.items() if queue.waiting and queue.least is not None},
    )


def say(lines: Any) -> None:
    """For the journal."""
    sys.stderr.write(f"{lines}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
