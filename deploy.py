"""Deploy the whole fleet: pyinfra inventory/prod.py deploy.py

A contents page: which host gets what, in order. What a role wants is in roles/, the settings are in group_data/.
Run it again at any time: it changes what differs, and nothing else. See first what it would do with --dry.
"""

from pyinfra.context import host

from fleet.engine import apply, driver, lock, operations, run
from roles import gpu, machine

fleet, secrets = run.load("discard_tasks")
me = fleet.hosts[host.name]
seen, plan = run.look(fleet)
lock.hold(name="Take the lock", plan=plan, what="deploy.py")

# Prepare: nothing that runs is touched.
driver.bring(plan, me)
apply.bring(machine.desired(plan, me, seen) + gpu.desired(plan, me), seen)
workers = apply.prepare_workers(plan, me, secrets, seen)

apply.phase(name="Bring up the broker")
if host.name == fleet.broker_host:
    apply.bring_broker(fleet, me, secrets, seen)

apply.phase(name="Bring up the workers")
operations.roll(plan, me, secrets, workers, seen)
