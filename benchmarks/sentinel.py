"""What a failover of sentinels loses, and how long it takes. As root, in a network of its own:

    unshare --net .venv/bin/python -m benchmarks.sentinel [--pool prefork] [--runs 3]

A primary with replicas and three sentinels, with `down-after-milliseconds` 3000. A producer sends a task each 10 ms, and sends it
again if the broker refuses it. For a while (`lag_s`) nothing passes between the primary and its replicas (nftables), and then the
primary is killed: what it had not handed over is gone, as with its machine. Lost is a task that was sent and never ran.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis

from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import Machine
from tests.unit.shop_support import answering, free_port, redis_server

NAME = "shop"
DOWN_AFTER = 3000
BEFORE, AFTER, DRAINED = 5.0, 25.0, 90.0
"""Seconds of load before and after the kill, and for what is left."""
APP = """
import time
from redis import Redis

@app.task(name="work", acks_late=True)
def work(number):
    with Redis(port={port}) as redis:
        redis.rpush("begun", f"{{number}} {{time.time()}}")
        time.sleep(0.05)
        redis.rpush("ended", number)
"""


def start(stack: ExitStack, command: list[str], port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    answering(port)
    return process


def wait(what: Callable[[], object]) -> None:
    if not until(what):
        raise SystemExit("the replicas or the sentinels did not come up")


def redis(stack: ExitStack, folder: Path, *more: str) -> tuple[int, subprocess.Popen[bytes]]:
    port = free_port()
    (folder / str(port)).mkdir()
    return port, start(stack, redis_server(port, folder / str(port), "--save", "", *more), port)


def cut(stack: ExitStack, primary: int) -> None:
    """Let nothing pass between a primary and its replicas."""
    with Redis(port=primary, decode_responses=True) as client:
        replicas = ", ".join(replica["addr"].rpartition(":")[2] for replica in client.client_list("replica"))
    rules = (
        "add table inet cut; add chain inet cut out { type filter hook output priority 0 ; }; "
        f"add rule inet cut out tcp sport {primary} tcp dport {{ {replicas} }} drop; "
        f"add rule inet cut out tcp dport {primary} tcp sport {{ {replicas} }} drop"
    )
    subprocess.run(["nft", rules], check=True)
    stack.callback(subprocess.run, ["nft", "delete table inet cut"], check=True)


def measure(folder: Path, pool: str, replicas: int, min_replicas: int, lag: float) -> dict[str, Any]:
    """One failover. lag: seconds for which the replicas are stopped before it."""
    with ExitStack() as stack:
        keep = ["--appendonly", "yes", "--repl-diskless-sync-delay", "0"]
        keep += ["--min-replicas-to-write", str(min_replicas), "--min-replicas-max-lag", "2"]
        primary_port, primary = redis(stack, folder, *keep)
        following = [redis(stack, folder, *keep, "--replicaof", "127.0.0.1", str(primary_port)) for _ in range(replicas)]
        for port, _ in following:
            with Redis(port=port) as replica:
                wait(lambda replica=replica: replica.info("replication")["master_link_status"] == "up")  # type: ignore[misc]
        watching = [free_port() for _ in range(3)]
        for port in watching:
            settings = folder / f"{port}.conf"
            settings.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor {NAME} 127.0.0.1 {primary_port} 2\n"
                f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\n"
            )
            start(stack, ["redis-server", str(settings), "--sentinel"], port)
        with Redis(port=watching[0], decode_responses=True) as sentinel:

            def know_each_other() -> bool:
                known: Any = sentinel.sentinel_masters()
                return (known[NAME]["num-other-sentinels"], known[NAME]["num-slaves"]) == (2, replicas)

            wait(know_each_other)
        url = ";".join(f"sentinel://127.0.0.1:{port}/0" for port in watching)
        ledger_port, _ = redis(stack, folder)
        ledger = stack.enter_context(Redis(port=ledger_port, decode_responses=True))
        options = {"master_name": NAME}
        here = Machine(folder, primary_port)
        here.pool = pool
        here.more = {
            "CELERY_BROKER_URL": url,
            "CELERY_RESULT_BACKEND": f"redis://127.0.0.1:{ledger_port}/1",
            "FLEET_CELERY": json.dumps({"lease": 60, "broker_transport_options": options}),
        }
        stack.callback(here.end)
        here.start(here.release("r", APP.format(port=ledger_port)))
        client = stack.enter_context(Celery(broker=url))
        client.conf.broker_transport_options = {**options, "socket_timeout": 3, "socket_connect_timeout": 2}
        sent: dict[int, float] = {}
        refused = 0

        def send_for(seconds: float) -> None:
            nonlocal refused
            end = time.time() + seconds
            while time.time() < end:
                try:
                    client.send_task("work", [len(sent)], queue="default", retry=False)
                    sent[len(sent)] = time.time()
                    time.sleep(0.01)
                except Exception:  # of kombu and redis: it is sent again, as a producer with retries does
                    refused += 1
                    time.sleep(0.1)

        send_for(BEFORE)
        if lag:
            cut(stack, primary_port)
        send_for(lag)
        killed = time.time()
        primary.kill()
        send_for(AFTER)

        def all_ended() -> bool:
            return len(set(ledger.lrange("ended", 0, -1))) == len(sent)

        until(all_ended, DRAINED)
        ran = Counter(map(int, ledger.lrange("ended", 0, -1)))
        begun = [float(line.split()[1]) for line in ledger.lrange("begun", 0, -1)]
        return {
            "pool": pool,
            "replicas": replicas,
            "min_replicas": min_replicas,
            "lag_s": lag,
            "sent": len(sent),
            "lost": len(sent.keys() - ran.keys()),
            "run_twice": sum(number > 1 for number in ran.values()),
            "refused": refused,
            "sent_again_s": round(min((at - killed for at in sent.values() if at > killed + 0.5), default=-1), 1),
            "begun_again_s": round(min((at - killed for at in begun if at > killed + 2), default=-1), 1),
        }


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pool", action="append", default=[], help="prefork, threads, gevent or solo; may be repeated")
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and what it started ends
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for pool in given.pool or ["prefork"]:
        for replicas, min_replicas, lag in ((1, 0, 0.0), (1, 0, 1.5), (2, 0, 10.0), (2, 1, 10.0)):
            for _ in range(given.runs):
                with tempfile.TemporaryDirectory() as folder:
                    sys.stdout.write(json.dumps(measure(Path(folder), pool, replicas, min_replicas, lag)) + "\n")
                    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
