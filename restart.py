"""Restart every worker as it is, in steps, and beat last: pyinfra inventory/prod.py restart.py

Some of them: --data role=web, or --limit web1. --dry shows the steps.
"""

from pyinfra.context import host

from fleet.engine import beat as bring_beat
from fleet.engine import lock, operations
from fleet.engine.start import start
from roles import beat, broker, gpu, machine, worker

run = start(machine, gpu, broker, worker, beat, takes=["role"])
lock.acquire(name="Take the lock", run=run, script="restart.py", brings=False)
operations.restart(run, worker, host.data.get("role"))
bring_beat.restart(run, host.data.get("role"))
