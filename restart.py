"""Restart every worker as it is, in steps: pyinfra inventory/prod.py restart.py

Some of them: --data role=web, or --limit web1. --dry shows the steps.
"""

from pyinfra.context import host

from fleet.engine import lock, operations, run

fleet, secrets = run.load("role")
_, plan = run.look(fleet)
lock.hold(name="Take the lock", plan=plan, what="restart.py", brings=False)
operations.restart(plan, fleet.hosts[host.name], secrets, host.data.get("role"))
