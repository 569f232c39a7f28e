"""Go back to the last good release, in steps: pyinfra inventory/prod.py rollback.py

Or to one by name: --data release=<id> (fleet history has them). Settings stay as they are; --dry shows the steps.
"""

from pyinfra.context import host

from roles import apply, earlier, locking, rolling, survey

fleet, secrets = survey.load("release", "discard_tasks")
me = fleet.hosts[host.name]
seen, plan = survey.look(fleet)
earlier.go_back(plan, host.data.get("release"))
locking.hold(name="Take the lock", plan=plan, what="rollback.py")

# Prepare: the release is there already, and has to fit what waits in the queues.
workers = apply.prepare_workers(plan, me, secrets, seen)

apply.phase(name="Bring the workers back")
rolling.roll(plan, me, secrets, workers, seen)
