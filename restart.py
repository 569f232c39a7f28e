"""Restart every worker as it is, in steps: pyinfra inventory/prod.py restart.py

Some of them: --data role=web, or --limit web1. --dry shows the steps.
"""

from pyinfra.context import host

from roles import apply

fleet, secrets = apply.load()
seen, plan = apply.survey()
apply.restart(plan, fleet.hosts[host.name], seen, host.data.get("role"))
