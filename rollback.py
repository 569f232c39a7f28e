"""Go back to the last good release, in steps: pyinfra inventory/prod.py rollback.py

Or to one by name: --data release=<id> (fleet history has them). Settings stay as they are; --dry shows the steps.
"""

from pyinfra.context import host

from fleet.engine import apply, lock, operations, run, target

fleet, secrets = run.load("release", "discard_tasks")
me = fleet.hosts[host.name]
seen, plan = run.look(fleet)
target.go_back(plan, host.data.get("release"))
lock.hold(name="Take the lock", plan=plan, what="rollback.py")

# Prepare: the release is there already, and has to fit what waits in the queues.
workers = apply.prepare_workers(plan, me, secrets, seen)

apply.phase(name="Bring the workers back")
operations.roll(plan, me, secrets, workers, seen)
