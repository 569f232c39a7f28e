"""Restart every worker as it is, in steps: pyinfra inventory/prod.py restart.py

Some of them: --data role=web, or --limit web1. --dry shows the steps.
"""

from pyinfra.context import host

from roles import rolling, survey

fleet, secrets = survey.load()
_, plan = survey.look()
rolling.restart(plan, fleet.hosts[host.name], host.data.get("role"))
