"""GPU workers on a real device, with the flags and the environment of a deployed unit. Started by run.sh; prints a report."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis, RedisError

ROOT = Path(__file__).parents[2]
PATIENCE = 120
UNIT, FOLDER = Path(sys.argv[1]), Path(sys.argv[2])
failed_claims: list[str] = []


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def check(claim: str, holds: bool, evidence: object) -> None:
    say(f"- {claim}: {'yes' if holds else '**NO**'} ({evidence})")
    if not holds:
        failed_claims.append(claim)


def smi(*words: str) -> list[str]:
    return subprocess.run(["nvidia-smi", *words], capture_output=True, text=True, check=True).stdout.splitlines()


def used_mb(device: int = 0) -> int:
    return int(smi("-i", str(device), "--query-gpu=memory.used", "--format=csv,noheader,nounits")[0])


def flags() -> tuple[list[str], dict[str, str]]:
    """The unit's flags of `celery worker`, and its environment."""
    lines = [line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line]
    words = shlex.split(next(value for name, value in lines if name == "ExecStart"))
    pairs = [pair for name, value in lines if name == "Environment" for pair in shlex.split(value)]
    environment = dict(pair.split("=", 1) for pair in pairs)
    settings = {name: value for name, value in environment.items() if name.startswith(("CUDA_", "FLEET_MAX", "FLEET_LONGEST"))}
    return [word.replace("%H", "here") for word in words[words.index("worker") + 1 :]], settings


@contextmanager
def worker(port: int, name: str, *more: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker with the unit's flags, under another name, and with `more` flags after them."""
    unit_flags, own = flags()
    words = [word for word in unit_flags if not word.startswith("--hostname")]
    url = f"redis://127.0.0.1:{port}"
    variables = {
        **os.environ,
        **own,
        "CELERY_BROKER_URL": f"{url}/0",
        "CELERY_RESULT_BACKEND": f"{url}/1",
        "PYTHONPATH": f"{ROOT / 'tests' / 'gpu'}:{os.environ['PYTHONPATH']}",
        **environment,
    }
    command = [sys.executable, "-m", "celery", "-A", "jobs", "worker", *words, f"--hostname={name}@here", *more]
    with (FOLDER / f"{name}.log").open("ab") as log, subprocess.Popen(command, env=variables, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def redis() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(FOLDER)]
    command += ["--notify-keyspace-events", "KEl"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            with Redis(port=port) as client:
                deadline = time.monotonic() + 10
                while True:
                    try:
                        client.ping()
                        break
                    except RedisError:
                        if time.monotonic() > deadline:
                            raise
                        time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def main() -> int:
    listed = smi("-L")
    say(f"# GPU workers on a real device, {date.today()}\n")
    for line in [
        *listed,
        f"driver {smi('--query-gpu=driver_version', '--format=csv,noheader')[0]}",
        f"flags: {' '.join(flags()[0])}",
    ]:
        say(f"    {line}")
    say("")
    gpus = sum(line.startswith("GPU ") for line in listed)
    with redis() as port:
        url = f"redis://127.0.0.1:{port}"
        with Celery("check", broker=f"{url}/0", backend=f"{url}/1") as app:
            tasks(app, port, gpus)
    say(f"\n{'all well' if not failed_claims else 'wrong: ' + '; '.join(failed_claims)}")
    return 1 if failed_claims else 0


def tasks(app: Celery, port: int, gpus: int) -> None:
    def run(name: str, *arguments: object, queue: str = "ml") -> Any:
        return app.send_task(f"jobs.{name}", arguments, queue=queue)

    before = used_mb()
    with worker(port, "spawned", CUDA_IN_PARENT="1") as process:
        answer = run("product", 2048).get(timeout=PATIENCE)
        check("a product on the device is the CPU's", answer["error"] < 1e-3, answer)
        check("the worker sees one device", answer["count"] == 1, f"CUDA_VISIBLE_DEVICES={answer['visible']}")
        check("the task ran in a spawned child, though its parent has CUDA", answer["pid"] != process.pid, answer["pid"])
        say(f"- memory of the device, MB: {before} before, {used_mb()} with the worker idle after its task")
        running = [run("product", 512, 2.0) for _ in range(6)]
        time.sleep(3)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    say(f"- memory of the device after the worker's end, MB: {used_mb()}")
    with worker(port, "spawned"):
        results = [task.get(timeout=PATIENCE) for task in running]
        check("SIGTERM in the middle of 6 tasks loses none", len(results) == 6, len(results))
    with worker(port, "second", "--queues=second", CUDA_VISIBLE_DEVICES="1"):
        answer = run("count", queue="second").get(timeout=PATIENCE)
        check(f"a second worker sees its own device ({gpus} here)", answer["count"] == (1 if gpus > 1 else 0), answer)
    with worker(port, "forked", "--queues=forked", "--pool-start-method=fork", CUDA_IN_PARENT="1"):
        try:
            answer = str(run("product", 64, queue="forked").get(timeout=PATIENCE))
            failed = False
        except Exception as error:
            answer, failed = str(error).splitlines()[0], True
        check("a forked child fails, as is said", failed and "CUDA" in answer, answer)


if __name__ == "__main__":
    sys.exit(main())
