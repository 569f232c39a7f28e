"""What many workers cost one Redis: connections, commands, CPU and memory, idle and at work, and how long a look at them takes.

    .venv/bin/python -m benchmarks.scale >benchmarks/results/scale-$(date +%F).md

Up to 50 workers are real, each a process. Of more, one is real, the listener that wakes the others. A second one's connections
are recorded by MONITOR from its start on, and played as often as there are to be workers, on as many connections, each under a
name of its own and with a phase of its own; played workers run no tasks. Redis's own counters are read: a machine of two cores
cannot run so many workers, and what they take of it does not count. Everything is on 127.0.0.1, with a Redis of its own. It takes
about half an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

from redis import Redis

from benchmarks.figures import machine, spread, table
from benchmarks.footprint import redis
from benchmarks.node import APP, QUIET, hold, ready, systemd, worker
from fleet.broker.port import opened
from fleet.observe.broker import Expected
from fleet.observe.sampling import sample

MB = 1 << 20
RECORDED = "w1@here"
"""Another is the listener, which says every two seconds that it is there; of a fleet's workers, one is."""
SETTLE = 65.0
"""Seconds until a new worker is like any other: what it asks most rarely comes once a minute."""
WINDOW = 60.0
"""Seconds of an idle worker that are recorded and measured."""
AT_ONCE = 50
"""Played workers that start in a second."""
GOLDEN = 0.618034
"""Multiples of it are spread evenly over an interval."""
MOST_CONNECTIONS = 15_000
"""Redis's own 10,000 are too few for 1,000 workers."""
LEASE = 60.0
COUNTERS = ("commands", "cpu", "bytes")
LINE = re.compile(rb"\+(\d+\.\d+) \[(\d+) ([^\]]+)\] (.*)")
WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')
ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


@dataclass(frozen=True)
class Track:
    """What one connection of a worker sends: commands, in words. start: at once. steady: each with seconds after the window's
    begin."""

    start: Sequence[list[bytes]]
    steady: Sequence[tuple[float, list[bytes]]]


@dataclass(frozen=True)
class Idle:
    """Of Redis, while so many workers are idle. commands: a second. cpu: share of a core. bytes: a second, both ways. look:
    seconds that a look at the fleet takes."""

    workers: int
    played: bool
    connections: int
    commands: float
    cpu: float
    bytes: float
    memory: float
    look: float


def counters(client: Redis) -> dict[str, float]:
    """What Redis has counted of all of its clients: commands, seconds of CPU, and bytes."""
    about = client.info("all")
    return {
        "commands": float(about["total_commands_processed"]),
        "cpu": float(about["used_cpu_sys"]) + float(about["used_cpu_user"]),
        "bytes": float(about["total_net_input_bytes"]) + float(about["total_net_output_bytes"]),
    }


def idle(client: Redis, port: int, workers: int, played: bool) -> Idle:
    """Measure for WINDOW seconds. client: the only one besides the workers'."""
    before, begun = counters(client), time.monotonic()
    time.sleep(WINDOW)
    spent = {name: value - before[name] for name, value in counters(client).items()}
    took = time.monotonic() - begun
    connections = int(client.info("clients")["connected_clients"]) - 1
    memory = float(client.info("memory")["used_memory"])
    with opened(f"redis://127.0.0.1:{port}/0") as broker:
        looks = []
        for _ in range(3):
            begun = time.monotonic()
            sample(broker, LEASE, Expected())
            looks.append(time.monotonic() - begun)
    rates = {name: spent[name] / took for name in COUNTERS}
    return Idle(workers, played, connections, **rates, memory=memory, look=median(looks))


@contextmanager
def real(folder: Path, client: Redis, port: int, count: int, first: int = 0) -> Iterator[None]:
    """So many workers, each a process. first: the number of the first, if others run."""
    with ExitStack() as stack:
        client.config_set("notify-keyspace-events", "KEl")  # as on a broker of the fleet's own
        client.config_set("maxclients", MOST_CONNECTIONS)
        for number in range(first, first + count):
            flags = ["-P", "solo", "-n", f"w{number}@here", *QUIET, "-l", "WARNING"]
            stack.enter_context(worker(folder, port, flags, True))
            if number % 10 == 9:
                ready(client, number + 1)
        ready(client, first + count)
        yield


def record(folder: Path, client: Redis, port: int) -> list[Track]:
    """Start a second worker, and write down what each of its connections that is still there in the end sends."""
    lines: list[bytes] = []
    others = addresses(client)
    with client.monitor() as watching:  # type: ignore[no-untyped-call]
        monitor = watching.connection
        monitor._sock.settimeout(None)
        stop = threading.Event()

        def read() -> None:
            with suppress(OSError, AttributeError), monitor._sock.makefile("rb") as stream:
                for line in stream:
                    lines.append(line)
                    if stop.is_set():
                        return

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        with real(folder, client, port, 1, first=1):
            time.sleep(SETTLE)
            seconds, microseconds = client.time()
            begin = seconds + microseconds / 1e6
            time.sleep(WINDOW)
            there = addresses(client) - others
            stop.set()
            client.ping()
            reader.join(5)
    recorded = tracks(lines, begin, there)
    if not any(track.steady for track in recorded):
        raise SystemExit("an idle worker has sent nothing")
    return recorded


def addresses(client: Redis) -> set[bytes]:
    """Of who is connected."""
    return {connection["addr"].encode() for connection in client.client_list()}


def tracks(lines: Sequence[bytes], begin: float, there: set[bytes]) -> list[Track]:
    """What MONITOR has printed, by connection. there: addresses that are connected in the end."""
    starts: dict[bytes, list[list[bytes]]] = {}
    steady: dict[bytes, list[tuple[float, list[bytes]]]] = {}
    for line in lines:
        if (read := LINE.match(line)) is None or (address := read[3]) not in there:
            continue
        words = [unescaped(word) for word in WORD.findall(read[4])]
        at = float(read[1]) - begin
        if at < 0:
            starts.setdefault(address, []).append(words)
        elif at < WINDOW:
            steady.setdefault(address, []).append((at, words))
    return [Track(starts.get(address, []), steady.get(address, [])) for address in {*starts, *steady}]


def unescaped(word: bytes) -> bytes:
    """A word of MONITOR's, as it was sent."""

    def sent(escape: re.Match[bytes]) -> bytes:
        text = escape[1]
        return bytes([int(text[1:], 16)]) if text[:1] == b"x" else ESCAPES.get(text, text)

    return re.sub(rb"\\(x[0-9a-f]{2}|.)", sent, word, flags=re.DOTALL)


def command(words: Sequence[bytes]) -> bytes:
    """As Redis reads it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Players:
    """Plays workers to Redis."""

    def __init__(self, port: int, tracks: Sequence[Track]) -> None:
        self._port = port
        self._tracks = tracks
        self._stop = threading.Event()
        self._started = 0
        self._target = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._play()))
        self._thread.start()

    def grow(self, count: int) -> None:
        """To so many, and wait until the last has started."""
        self._target = count
        while self._started < count:
            if not self._thread.is_alive():
                raise SystemExit("the players have ended")
            time.sleep(0.1)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    async def _play(self) -> None:
        playing = set[asyncio.Task[None]]()
        while not self._stop.is_set():
            if self._started < self._target:
                for track in self._tracks:
                    playing.add(asyncio.create_task(self._play_track(track, self._started + 1)))
                self._started += 1
                await asyncio.sleep(1 / AT_ONCE)
            else:
                await asyncio.sleep(0.1)
            if any(task.done() for task in playing):
                raise SystemExit("Redis has closed a connection of a player")
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)

    async def _play_track(self, track: Track, number: int) -> None:
        name = b"w%d@here" % number

        def own(words: Sequence[bytes]) -> bytes:
            return command([word.replace(RECORDED.encode(), name) for word in words])

        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        answers = asyncio.create_task(_discard(reader))
        try:
            for first in track.start:
                writer.write(own(first))
            await writer.drain()
            phase = number * WINDOW * GOLDEN % WINDOW
            begin = time.monotonic() - phase
            steady = [(at, own(words)) for at, words in track.steady]
            for turn in range(1 << 30):
                for at, encoded in steady:
                    left = begin + turn * WINDOW + at - time.monotonic()
                    if left < 0 and not turn:
                        continue
                    await asyncio.wait([answers], timeout=max(0.0, left))
                    writer.write(encoded)
                if not steady:
                    await asyncio.wait([answers], timeout=WINDOW)
                if answers.done():
                    return
        finally:
            answers.cancel()
            writer.close()


async def _discard(reader: asyncio.StreamReader) -> None:
    """Read what Redis answers, until it closes the connection."""
    while await reader.read(1 << 16):
        pass


def at_work(folder: Path, port: int, workers: int, tasks: int, rounds: int) -> list[str]:
    """One row: what Redis does for a task of a full queue."""
    commands, cpu = list[float](), list[float]()
    with Redis(port=port) as client, real(folder, client, port, workers):
        for _ in range(rounds):
            hold(folder, port, "nothing", [], tasks)
            before = counters(client)
            client.rename("held", "celery")
            while client.llen("celery") or client.hlen("unacked"):
                time.sleep(0.5)
            spent = {name: value - before[name] for name, value in counters(client).items()}
            commands.append(spent["commands"] / tasks)
            cpu.append(spent["cpu"] / tasks * 1e6)
    return [str(workers), spread(commands, 1), spread(cpu, 0), f"{1e6 / median(cpu):,.0f}"]


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", default="1,10,50", help="numbers of real workers; default: %(default)s")
    parser.add_argument("--played", default="50,100,200,500,1000", help="numbers of played workers; default: %(default)s")
    parser.add_argument("--tasks", type=int, default=4000, help="default: %(default)s")
    given = parser.parse_args()
    rows, work = list[Idle](), list[list[str]]()
    for count in map(int, filter(None, given.real.split(","))):
        with tempfile.TemporaryDirectory() as name, redis(Path(name)) as port, systemd(folder := Path(name)):
            (folder / "load.py").write_text(APP)
            with Redis(port=port) as client, real(folder, client, port, count):
                time.sleep(SETTLE)
                rows.append(idle(client, port, count, played=False))
            work.append(at_work(folder, port, count, given.tasks, 3))
        sys.stderr.write(f"{rows[-1]}, {work[-1]}\n")
    with tempfile.TemporaryDirectory() as name, redis(Path(name)) as port, systemd(folder := Path(name)), ExitStack() as stack:
        (folder / "load.py").write_text(APP)
        client = stack.enter_context(Redis(port=port))
        stack.enter_context(real(folder, client, port, 1))
        time.sleep(SETTLE)
        players = stack.enter_context(closing(Players(port, record(folder, client, port))))
        for count in map(int, given.played.split(",")):
            players.grow(count - 1)
            time.sleep(SETTLE)
            rows.append(idle(client, port, count, played=True))
            sys.stderr.write(f"{rows[-1]}\n")
    report(rows, work)


def report(rows: Sequence[Idle], work: Sequence[Sequence[str]]) -> None:
    """Print it."""
    write = sys.stdout.write
    write(
        f"# Many workers on one Redis, {date.today()}\n\n    python -m benchmarks.scale {' '.join(sys.argv[1:])}\n\n## Idle\n\n"
    )
    heads = [
        "workers",
        "",
        "connections",
        "commands/s",
        "commands/s of one",
        "CPU, % of a core",
        "KB/s",
        "memory, MB",
        "a look, s",
    ]
    lines = [
        (
            str(of.workers),
            "played" if of.played else "processes",
            str(of.connections),
            f"{of.commands:.1f}",
            f"{of.commands / of.workers:.2f}",
            f"{100 * of.cpu:.2f}",
            f"{of.bytes / 1024:.1f}",
            f"{of.memory / MB:.1f}",
            f"{of.look:.2f}",
        )
        for of in rows
    ]
    write(table(heads, lines))
    heads = ["workers", "commands a task", "µs of Redis's CPU a task", "tasks/s of one core of Redis"]
    write(
        f"\n## At work, on a full queue of tasks that do nothing\n\n3 rounds; median (least to most).\n\n{table(heads, work)}\n"
    )
    write("".join(f"- {name}: {value}\n" for name, value in machine().items()))


if __name__ == "__main__":
    main()
