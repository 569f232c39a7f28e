"""Restart every worker as it is, in steps: pyinfra inventory/prod.py restart.py

Some of them: --data role=web, or --limit web1. --dry shows the steps.
"""

from pyinfra.context import host

from roles import locking, rolling, survey

fleet, secrets = survey.load("role")
_, plan = survey.look(fleet)
locking.hold(name="Take the lock", plan=plan, what="restart.py", brings=False)
rolling.restart(plan, fleet.hosts[host.name], secrets, host.data.get("role"))
